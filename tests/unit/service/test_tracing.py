"""Spans join the caller's trace and lead on from there; without OpenTelemetry nothing changes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from longcall.contract import Report, Succeeded
from longcall.service.otel import OtelTracing
from longcall.service.tracing import NullTracing, Tracing, joined_trace, make_tracing

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
TOPIC = "projects/my-project/topics/completions"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def tracing(provider: TracerProvider) -> Tracing:
    return OtelTracing(provider)


def report(traceparent: str) -> Report:
    return Report(
        correlation_id="an-id",
        body=Succeeded.of({"secret": "the result"}),
        id="an-id/2/5",
        source="/services/digits",
        time=datetime.now(UTC),
        attempt=2,
        sequence=5,
        traceparent=traceparent,
    )


def test_spans_of_a_call_are_one_chain(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with tracing.accept(correlation_id="an-id", handler="/train", traceparent=TRACEPARENT) as accepted:
        stored = accepted.traceparent
    with tracing.attempt(correlation_id="an-id", handler="/train", attempt=2, traceparent=stored) as work:
        led_on = work.traceparent
    with tracing.publish(report(led_on), topic=TOPIC):
        pass

    accept, process, send = exporter.get_finished_spans()
    chain = [parent(accept), span_id(accept), span_id(process)]
    assert chain == [PARENT, parent(process), parent(send)]
    assert {f"{span.context.trace_id:032x}" for span in (accept, process, send) if span.context} == {TRACE}
    assert [span.kind for span in (accept, process, send)] == [
        SpanKind.SERVER,
        SpanKind.CONSUMER,
        SpanKind.PRODUCER,
    ]


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def test_attributes_are_those_of_the_conventions(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with tracing.accept(correlation_id="an-id", handler="/train", traceparent=""):
        pass
    with tracing.attempt(correlation_id="an-id", handler="/train", attempt=2, traceparent=""):
        pass
    with tracing.publish(report(""), topic=TOPIC):
        pass

    accept, process, send = exporter.get_finished_spans()
    assert [span.name for span in (accept, process, send)] == [
        "accept /train",
        "process /train",
        "send completions",
    ]
    of_call = {
        "messaging.message.conversation_id": "an-id",
        "longcall.correlation_id": "an-id",
        "longcall.handler": "/train",
    }
    assert accept.attributes == of_call | {"http.request.method": "POST", "http.route": "/train"}
    assert process.attributes == of_call | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "longcall.attempt": 2,
    }
    assert send.attributes == {
        "messaging.system": "gcp_pubsub",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "completions",
        "messaging.message.conversation_id": "an-id",
        "longcall.correlation_id": "an-id",
        "longcall.report": "succeeded",
        "longcall.attempt": 2,
    }


def test_failure_is_told_by_its_kind_alone(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    with (
        pytest.raises(ValueError, match="secret"),
        tracing.attempt(correlation_id="an-id", handler="/train", attempt=1, traceparent=TRACEPARENT),
    ):
        raise ValueError("secret")
    with tracing.attempt(correlation_id="an-id", handler="/train", attempt=2, traceparent="") as work:
        work.fail("process-died")

    raised, failed = exporter.get_finished_spans()
    for span, kind in ((raised, "ValueError"), (failed, "process-died")):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == kind
        assert "secret" not in span.to_json()


async def test_cancelled_attempt_ends_its_span(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    async def work() -> None:
        with tracing.attempt(correlation_id="an-id", handler="/train", attempt=1, traceparent=""):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == "CancelledError"


async def test_span_of_a_handler_is_below_that_of_its_attempt(
    tracing: Tracing, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    """As the supervisor does: the span is made first, entered in the task that works."""

    async def handler() -> None:
        with provider.get_tracer("the user's").start_as_current_span("query"):
            await asyncio.sleep(0)

    async def carry_out(number: int) -> None:
        span = tracing.attempt(
            correlation_id=f"call-{number}", handler="/train", attempt=1, traceparent=TRACEPARENT
        )
        with span:
            await asyncio.create_task(handler())

    await asyncio.gather(*(carry_out(number) for number in range(3)))

    spans = exporter.get_finished_spans()
    attempts = {span_id(span) for span in spans if span.name.startswith("process")}
    assert {parent(span) for span in spans if span.name == "query"} == attempts
    assert len(attempts) == 3
    assert not trace.get_current_span().get_span_context().is_valid


def test_work_leaves_the_trace_of_what_is_current_elsewhere(
    tracing: Tracing, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    with provider.get_tracer("a loop of the service's").start_as_current_span("dispatch"):
        tracing.attempt(
            correlation_id="an-id", handler="/train", attempt=1, traceparent=TRACEPARENT
        ).__enter__().__exit__(None, None, None)

    assert parent(exporter.get_finished_spans()[0]) == PARENT


def test_span_of_an_instrumented_framework_is_the_parent(
    tracing: Tracing, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    with (
        provider.get_tracer("the framework's").start_as_current_span("POST /train"),
        tracing.accept(correlation_id="an-id", handler="/train", traceparent=TRACEPARENT),
    ):
        pass

    accept, framework = exporter.get_finished_spans()
    assert parent(accept) == span_id(framework)


def test_caller_who_does_not_sample_is_heeded(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    unsampled = f"00-{TRACE}-{PARENT}-00"
    with tracing.attempt(correlation_id="i", handler="/t", attempt=1, traceparent=unsampled) as work:
        assert work.traceparent.startswith(f"00-{TRACE}-")
        assert work.traceparent.endswith("-00")

    assert not exporter.get_finished_spans()


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_traceparent_that_is_none_begins_a_trace(tracing: Tracing, traceparent: str) -> None:
    with tracing.accept(correlation_id="an-id", handler="/train", traceparent=traceparent) as span:
        assert len(span.traceparent) == len(TRACEPARENT)
        assert TRACE not in span.traceparent


def test_child_joins_the_trace(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    with joined_trace(TRACEPARENT), provider.get_tracer("the user's").start_as_current_span("query"):
        pass
    with joined_trace(""), provider.get_tracer("the user's").start_as_current_span("alone"):
        pass

    query, alone = exporter.get_finished_spans()
    assert parent(query) == PARENT
    assert alone.parent is None
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("tracing", [NullTracing(), OtelTracing(trace.NoOpTracerProvider())])
@pytest.mark.parametrize("traceparent", [TRACEPARENT, ""])
def test_without_an_sdk_the_caller_s_traceparent_passes_through(tracing: Tracing, traceparent: str) -> None:
    with tracing.accept(correlation_id="i", handler="/t", traceparent=traceparent) as accepted:
        assert accepted.traceparent == traceparent
    with tracing.attempt(correlation_id="i", handler="/t", attempt=1, traceparent=traceparent) as work:
        work.fail("code")
        assert work.traceparent == traceparent
    with tracing.publish(report(traceparent), topic=TOPIC) as sent:
        assert sent.traceparent == traceparent


def test_without_opentelemetry_nothing_is_traced() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from longcall.service.tracing import NullTracing, joined_trace, make_tracing
assert isinstance(make_tracing(), NullTracing)
with joined_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
    pass
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_with_opentelemetry_spans_are_made() -> None:
    assert isinstance(make_tracing(), OtelTracing)
