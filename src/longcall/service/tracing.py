"""Spans of a service, joined to the caller's trace: a call accepted, an attempt at work, a completion sent.

A caller's `traceparent` (W3C Trace Context) leads in; each span's own leads on.
Without OpenTelemetry the caller's goes through unchanged, and costs nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, Self

from longcall.contract import Report

__all__ = ["NullTracing", "TracedWork", "Tracing", "joined_trace", "make_tracing"]


class TracedWork(Protocol):
    """A span. It begins when it is made; `with` makes it the current one, and ends it.

    An exception that leaves the `with` is the span's error, by its type alone: texts may hold what is secret.
    """

    @property
    def traceparent(self) -> str:
        """What leads on from here; empty: there is no trace."""
        ...

    def fail(self, kind: str) -> None:
        """Say that the work failed. `kind`: one of few words, such as a problem's code."""
        ...

    def __enter__(self) -> Self:
        """Make it the current span of this task."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        ...


class Tracing(Protocol):
    """Makes spans. A `traceparent` that is none begins a trace of its own."""

    def accept(self, *, correlation_id: str, handler: str, traceparent: str) -> TracedWork:
        """Return the span of one request to start a call; `traceparent` is the caller's."""
        ...

    def attempt(self, *, correlation_id: str, handler: str, attempt: int, traceparent: str) -> TracedWork:
        """Return the span of one attempt at work; `traceparent` is what the call was stored with."""
        ...

    def publish(self, report: Report, *, topic: str) -> TracedWork:
        """Return the span of one try to publish; `topic` is a full path."""
        ...


class _PassedOn:
    """No span: leads on what led in."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def fail(self, kind: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class NullTracing:
    """Makes no spans, and passes on each traceparent as it came."""

    def accept(self, *, correlation_id: str, handler: str, traceparent: str) -> TracedWork:
        """Pass on the caller's."""
        return _PassedOn(traceparent)

    def attempt(self, *, correlation_id: str, handler: str, attempt: int, traceparent: str) -> TracedWork:
        """Pass on what the call was stored with."""
        return _PassedOn(traceparent)

    def publish(self, report: Report, *, topic: str) -> TracedWork:
        """Pass on the report's."""
        return _PassedOn(report.traceparent)


def make_tracing() -> Tracing:
    """Return one that makes spans with OpenTelemetry; without that, one that makes none."""
    try:
        from longcall.service.otel import OtelTracing
    except ImportError:
        return NullTracing()
    return OtelTracing()


def joined_trace(traceparent: str) -> AbstractContextManager[None]:
    """Make what `traceparent` names the current span, so that a child process's own spans join it.

    Without OpenTelemetry, and for an empty `traceparent`, it does nothing.
    """
    if not traceparent:
        return nullcontext()
    try:
        from longcall.service.otel import joined
    except ImportError:
        return nullcontext()
    return joined(traceparent)
