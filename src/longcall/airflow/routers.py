"""The routers of this process: one for each event loop and way to Pub/Sub, shared by all triggers.

A triggerer runs thousands of waits in one loop; they share one connection, and
one stream for each distinct inbox. The last one to leave closes it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asgiref.sync import sync_to_async

from longcall.airflow.connections import find_access
from longcall.airflow.metrics import gauge_waits
from longcall.airflow.route import PubSubRoute
from longcall.client import Router
from longcall.transport.port import Transport

__all__ = ["SharedRouter", "shared_router"]


@dataclass(slots=True)
class SharedRouter:
    """A router, its connection, and how many waits use them."""

    router: Router
    transport: Transport
    users: int = 0


_routers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[PubSubRoute, SharedRouter]] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_router(route: PubSubRoute) -> AsyncIterator[SharedRouter]:
    """Use the running loop's router for a way to Pub/Sub; the first to enter makes it.

    Raises:
        AirflowNotFoundException: the connection does not exist.
        ContractError: it cannot be used.
    """
    routers = _routers.setdefault(asyncio.get_running_loop(), {})
    if route not in routers:
        access = await sync_to_async(find_access)(route)
        if route not in routers:  # another wait may have been quicker
            transport = access.open()
            routers[route] = SharedRouter(router=Router(transport), transport=transport)
    shared = routers[route]
    shared.users += 1
    _gauge(routers)
    try:
        yield shared
    finally:
        shared.users -= 1
        _gauge(routers)
        if shared.users == 0:
            del routers[route]
            await shared.router.aclose()
            await shared.transport.aclose()


def _gauge(routers: dict[PubSubRoute, SharedRouter]) -> None:
    gauge_waits(sum(shared.users for shared in routers.values()))
