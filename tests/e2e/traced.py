"""A service whose spans go to a file, also those that its handler makes in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from workers import wait_for_file

from longcall.contract import JsonValue
from longcall.service import Call, CallFailed, Service

_file = Path(os.environ["SPANS"]).open("a")  # noqa: SIM115 # for the life of the process
_provider = TracerProvider()
_provider.add_span_processor(
    SimpleSpanProcessor(
        ConsoleSpanExporter(out=_file, formatter=lambda span: span.to_json(indent=None) + "\n")
    )
)
trace.set_tracer_provider(_provider)

service = Service("traced")


@service.handler("/queries")
def queries(call: Call) -> JsonValue:
    with trace.get_tracer("mine").start_as_current_span("query"):
        return "the-result"


@service.handler("/waits")
def waits(call: Call) -> JsonValue:
    """Work until the file that the arguments name is there; the progress message is the process id."""
    call.progress(0, message=str(os.getpid()))
    wait_for_file(call)
    return "done"


@service.handler("/fails")
def fails(call: Call) -> JsonValue:
    raise CallFailed("No such thing", detail="as tested", code="nothing", retryable=False)
