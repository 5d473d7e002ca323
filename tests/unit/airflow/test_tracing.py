"""One trace: what leads from the task to the service, and back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.trace import Span, TracerProvider

from longcall.airflow.tracing import link_to_service, outgoing_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def context(**carrier: str) -> Any:
    return {"ti": SimpleNamespace(context_carrier=carrier or None)}


def test_current_span_leads_on() -> None:
    with TracerProvider().get_tracer("t").start_as_current_span("task") as span:
        ours = span.get_span_context()
        outgoing = outgoing_traceparent(context(traceparent=TRACEPARENT))
    assert outgoing.startswith(f"00-{ours.trace_id:032x}-{ours.span_id:016x}-")


def test_without_a_span_the_task_s_own_carrier_leads_on() -> None:
    assert outgoing_traceparent(context(traceparent=TRACEPARENT)) == TRACEPARENT
    assert outgoing_traceparent(context()) == ""
    assert outgoing_traceparent({"ti": object()}) == ""  # Airflow 2


def test_resumed_task_links_to_the_work() -> None:
    with TracerProvider().get_tracer("t").start_as_current_span("task") as span:
        for traceparent in (TRACEPARENT, "", "no trace", "00-" + "0" * 32 + "-1-01"):
            link_to_service(traceparent)
        assert isinstance(span, Span)
        assert [f"{link.context.trace_id:x}" for link in span.links] == [TRACE.lstrip("0")]
    link_to_service(TRACEPARENT)  # no span: nothing happens
