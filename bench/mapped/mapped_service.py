"""A service that answers nobody before every call is there."""

from __future__ import annotations

import asyncio
import os

from go import note_go

from longcall.contract import JsonValue
from longcall.service import Call, Service

service = Service("bench")
_waiting: list[asyncio.Future[None]] = []


@service.handler("/together")
async def together(call: Call) -> JsonValue:
    """Answer with the arguments and the id once there are `BENCH_CALLS` calls."""
    _waiting.append(asyncio.get_running_loop().create_future())
    if len(_waiting) == int(os.environ["BENCH_CALLS"]):
        note_go()
        for future in _waiting:
            future.set_result(None)
    else:
        await _waiting[-1]
    return {"arguments": call.arguments, "correlid": call.id}
