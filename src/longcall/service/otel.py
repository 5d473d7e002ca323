"""Spans with OpenTelemetry's API. Which SDK takes them, and where they go, the application decides.

Names and attributes follow the semantic conventions for messaging, and for Google
Cloud Pub/Sub, as of version 1.45; what they have no name for begins with `longcall.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self, TypeAlias

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from longcall import __version__
from longcall.contract import Report, resource_id

__all__ = ["OtelTracing", "joined"]

_W3C: Final = TraceContextTextMapPropagator()
_Attributes: TypeAlias = Mapping[str, str | int]


class _OtelSpan:
    """One span, from now until its `with` is left."""

    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(span))
        self.traceparent = carrier.get("traceparent", "")

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def __enter__(self) -> Self:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        context.detach(self._token)
        if kind is not None:
            self.fail(kind.__qualname__)
        self._span.end()


class OtelTracing:
    """Makes spans with a tracer provider of OpenTelemetry's."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Use `provider`; None: the one that the application has set, or will."""
        self._tracer = trace.get_tracer("longcall.service", __version__, provider)

    def accept(self, *, correlation_id: str, handler: str, traceparent: str) -> _OtelSpan:
        """Begin `accept /path`; where the framework has a span for the request already, below that."""
        has_parent = trace.get_current_span().get_span_context().is_valid
        parent = context.get_current() if has_parent else _extracted(traceparent)
        attributes: dict[str, str | int] = {"http.request.method": "POST", "http.route": handler}
        return self._begin(
            f"accept {handler}", SpanKind.SERVER, parent, _of_call(correlation_id, handler) | attributes
        )

    def attempt(self, *, correlation_id: str, handler: str, attempt: int, traceparent: str) -> _OtelSpan:
        """Begin `process /path`."""
        attributes: dict[str, str | int] = {
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "longcall.attempt": attempt,
        }
        return self._begin(
            f"process {handler}",
            SpanKind.CONSUMER,
            _extracted(traceparent),
            _of_call(correlation_id, handler) | attributes,
        )

    def publish(self, report: Report, *, topic: str) -> _OtelSpan:
        """Begin `send topic`."""
        attributes: dict[str, str | int] = {
            "messaging.system": "gcp_pubsub",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": resource_id(topic),
            "messaging.message.conversation_id": report.correlation_id,
            "longcall.correlation_id": report.correlation_id,
            "longcall.report": type(report.body).__name__.lower(),
        }
        if report.attempt is not None:
            attributes["longcall.attempt"] = report.attempt
        return self._begin(
            f"send {resource_id(topic)}", SpanKind.PRODUCER, _extracted(report.traceparent), attributes
        )

    def _begin(self, name: str, kind: SpanKind, parent: Context, attributes: _Attributes) -> _OtelSpan:
        return _OtelSpan(self._tracer.start_span(name, parent, kind, attributes))


def _of_call(correlation_id: str, handler: str) -> dict[str, str | int]:
    return {
        "messaging.message.conversation_id": correlation_id,
        "longcall.correlation_id": correlation_id,
        "longcall.handler": handler,
    }


def _extracted(traceparent: str) -> Context:
    """Return the context that a caller's header names, and nothing else of what is current here."""
    return _W3C.extract({"traceparent": traceparent}, Context())


@contextmanager
def joined(traceparent: str) -> Iterator[None]:
    """Make the span that `traceparent` names the current one."""
    token = context.attach(_extracted(traceparent))
    try:
        yield
    finally:
        context.detach(token)
