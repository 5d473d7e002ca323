"""A service that answers with the instant at which it had its answer."""

from __future__ import annotations

import asyncio
import time

from longcall.contract import JsonValue
from longcall.service import Call, Service

service = Service("bench")


@service.handler("/answer")
async def answer(call: Call) -> JsonValue:
    """Work for `delay_s`."""
    arguments = call.arguments
    assert isinstance(arguments, dict)
    await asyncio.sleep(float(str(arguments["delay_s"])))
    return time.time()
