"""A service whose handlers end in every way there is."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from datetime import timedelta

from longcall.contract import JsonValue
from longcall.service import Call, CallFailed, Result, Service
from longcall.service.call import HandlerResult

__all__ = ["Work", "make_service"]


@dataclass
class Work:
    """What the handlers have done, and what they wait for."""

    started: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: list[bool] = field(default_factory=list)


def make_service(work: Work) -> Service:
    service = Service("tests")

    @service.handler("/echo")
    async def echo(call: Call) -> JsonValue:
        work.started.append(call.id)
        return {"arguments": call.arguments, "attempt": call.attempt}

    @service.handler("/serve")
    async def serve(call: Call) -> HandlerResult:
        return Result(data=call.body.upper(), content_type="text/plain")

    @service.handler("/held")
    async def held(call: Call) -> JsonValue:
        work.started.append(call.id)
        work.begun.set()
        try:
            await work.released.wait()
        finally:
            work.cancelled.append(call.cancelled)
        return "released"

    @service.handler("/steps")
    async def steps(call: Call) -> JsonValue:
        for step in range(1000):
            call.progress(step, 1000, unit="steps")
        call.progress(1000, 1000, unit="steps", message="all done")
        return None

    @service.handler("/says")
    async def says(call: Call) -> JsonValue:
        """Say each of the arguments at its level, from the task and from a thread."""
        assert isinstance(call.arguments, dict)
        for level, message in call.arguments.items():
            call.log(str(message), level=level)
        await asyncio.to_thread(call.log, "from a thread")
        return None

    @service.handler("/talks")
    async def talks(call: Call) -> JsonValue:
        for number in range(1_000_000):
            call.log(str(number))
        return None

    @service.handler("/fails")
    async def fails(call: Call) -> JsonValue:
        raise RuntimeError("the disk of node 7 is full")

    @service.handler("/refuses")
    async def refuses(call: Call) -> JsonValue:
        raise CallFailed(
            "Unknown model",
            detail="there is no 'gpt-0'",
            code="model",
            retryable=False,
            retry_after=timedelta(seconds=1.5),
        )

    @service.handler("/exits")
    async def exits(call: Call) -> JsonValue:
        sys.exit("enough")

    @service.handler("/cancels-itself")
    async def cancels_itself(call: Call) -> JsonValue:
        raise asyncio.CancelledError

    @service.handler("/undecodable")
    async def undecodable(call: Call) -> JsonValue:
        raise FileNotFoundError("no file \udcff")

    @service.handler("/wordy")
    async def wordy(call: Call) -> JsonValue:
        raise ValueError("x" * 20_000_000)

    @service.handler("/not-json")
    async def not_json(call: Call) -> JsonValue:
        return object()  # type: ignore[return-value]

    @service.handler("/not-a-number")
    async def not_a_number(call: Call) -> JsonValue:
        call.progress(float("nan"), 10)
        return float("nan")

    @service.handler("/too-large")
    async def too_large(call: Call) -> JsonValue:
        return "x" * 10_000_001

    @service.handler("/says-json")
    async def says_json(call: Call) -> HandlerResult:
        return Result(data=b"{", content_type="application/json")

    return service
