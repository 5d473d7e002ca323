"""The routers of this process: one for each event loop and Google connection, shared by all triggers.

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
from longcall.client import Router
from longcall.transport.port import Transport

__all__ = ["SharedRouter", "shared_router"]


@dataclass(slots=True)
class SharedRouter:
    """A router, its connection, and how many waits use them."""

    router: Router
    transport: Transport
    users: int = 0


_routers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedRouter]] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_router(gcp_conn_id: str) -> AsyncIterator[SharedRouter]:
    """Use the running loop's router for a Google connection; the first to enter makes it.

    Raises:
        AirflowNotFoundException: the connection does not exist.
    """
    routers = _routers.setdefault(asyncio.get_running_loop(), {})
    if gcp_conn_id not in routers:
        access = await sync_to_async(find_access)(gcp_conn_id)
        if gcp_conn_id not in routers:  # another wait may have been quicker
            transport = access.open()
            routers[gcp_conn_id] = SharedRouter(router=Router(transport), transport=transport)
    shared = routers[gcp_conn_id]
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if shared.users == 0:
            del routers[gcp_conn_id]
            await shared.router.aclose()
            await shared.transport.aclose()
