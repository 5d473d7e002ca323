"""One trace from the DAG through the service and back (W3C Trace Context).

The task's `traceparent` goes out with the request; the service's comes back with the completion, and the
span of the resumed task links to it. Without tracing both cost nothing.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from longcall.airflow.version_compat import Context

__all__ = ["link_to_service", "outgoing_traceparent"]

_W3C = TraceContextTextMapPropagator()


def outgoing_traceparent(context: Context) -> str:
    """Return what joins a call to the trace of the running task; empty: there is none.

    The current span's; else what Airflow 3 keeps with the task instance.
    """
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    if not carrier:
        carrier = getattr(context["ti"], "context_carrier", None) or {}
    return str(carrier.get("traceparent", ""))


def link_to_service(traceparent: str) -> None:
    """Link the current span to the work that sent a completion; what is no traceparent is no link."""
    theirs = trace.get_current_span(_W3C.extract({"traceparent": traceparent}, context=TraceContext()))
    span_context = theirs.get_span_context()
    if span_context.is_valid:
        trace.get_current_span().add_link(span_context)
