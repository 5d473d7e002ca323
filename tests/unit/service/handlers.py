"""A service whose handlers end in every way there is."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from datetime import timedelta

from longcall.contract import JsonValue
from longcall.service import Call, CallFailure, Result, Service
from longcall.service.call import HandlerResult

__all__ = ["Work", "make_service"]


@dataclass
class Work:
    """What the handlers have done, and what they wait for."""

    started: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)


def make_service(work: Work) -> Service:
    service = Service("tests")

    @service.call("/echo")
    async def echo(call: Call) -> JsonValue:
        work.started.append(call.correlation_id)
        return {"arguments": call.arguments, "attempt": call.attempt}

    @service.call("/serve")
    async def serve(call: Call) -> HandlerResult:
        return Result(data=call.body.upper(), content_type="text/plain")

    @service.call("/held")
    async def held(call: Call) -> JsonValue:
        work.started.append(call.correlation_id)
        work.begun.set()
        await work.released.wait()
        return "released"

    @service.call("/steps")
    async def steps(call: Call) -> JsonValue:
        for step in range(1000):
            call.report_progress(step, 1000, unit="steps")
        call.report_progress(1000, 1000, unit="steps", message="all done")
        return None

    @service.call("/fails")
    async def fails(call: Call) -> JsonValue:
        raise RuntimeError("the disk of node 7 is full")

    @service.call("/refuses")
    async def refuses(call: Call) -> JsonValue:
        raise CallFailure(
            "Unknown model",
            detail="there is no 'gpt-0'",
            code="model",
            retryable=False,
            retry_after=timedelta(seconds=1.5),
        )

    @service.call("/exits")
    async def exits(call: Call) -> JsonValue:
        sys.exit("enough")

    @service.call("/cancels-itself")
    async def cancels_itself(call: Call) -> JsonValue:
        raise asyncio.CancelledError

    @service.call("/undecodable")
    async def undecodable(call: Call) -> JsonValue:
        raise FileNotFoundError("no file \udcff")

    @service.call("/wordy")
    async def wordy(call: Call) -> JsonValue:
        raise ValueError("x" * 20_000_000)

    @service.call("/not-json")
    async def not_json(call: Call) -> JsonValue:
        return object()  # type: ignore[return-value]

    @service.call("/not-a-number")
    async def not_a_number(call: Call) -> JsonValue:
        call.report_progress(float("nan"), 10)
        return float("nan")

    @service.call("/too-large")
    async def too_large(call: Call) -> JsonValue:
        return "x" * 10_000_001

    @service.call("/says-json")
    async def says_json(call: Call) -> HandlerResult:
        return Result(data=b"{", content_type="application/json")

    return service
