"""A service with a call that ends at once, and one that only a cancellation ends."""

from __future__ import annotations

import asyncio

from longcall.service import Call, Service

service = Service("plain")


@service.handler("/forever")
async def forever(call: Call) -> None:
    await asyncio.Event().wait()


@service.handler("/quick")
async def quick(call: Call) -> None:
    pass
