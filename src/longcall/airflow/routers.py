"""The routers of this process: one for each event loop and way to Pub/Sub, shared by all triggers.

A triggerer runs thousands of waits in one loop; they share one connection, and
one stream for each distinct inbox. The last one to leave closes it.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from longcall.airflow.connections import find_access, find_longcall_connection
from longcall.airflow.in_thread import in_thread
from longcall.airflow.metrics import count_set_aside, gauge_waits
from longcall.airflow.route import PubSubRoute
from longcall.airflow.version_compat import longcall_setting
from longcall.client import Router, RouterConfig, SetAside
from longcall.contract import ContractError
from longcall.transport.port import Transport

__all__ = ["SharedRouter", "router_config", "shared_router"]


_SECRET_KEPT_S: Final = 10.0


@dataclass(slots=True)
class SharedRouter:
    """A router, its connection, how many waits use them, and the secrets that they verify reports with."""

    router: Router
    transport: Transport
    users: int = 0
    _secrets: dict[str, tuple[str | None, float]] = field(default_factory=dict, repr=False)

    async def secret(self, longcall_conn_id: str) -> str | None:
        """Return the signing secret of a `longcall` connection; None: it has none.

        It is looked up every ten seconds at most, since a triggerer may begin thousands of waits at once.

        Raises:
            AirflowNotFoundException: the connection does not exist.
            ContractError: it cannot be used.
        """
        secret, until_s = self._secrets.get(longcall_conn_id, (None, 0.0))
        if time.monotonic() >= until_s:
            secret = (await in_thread(find_longcall_connection, longcall_conn_id)).secret
            self._secrets[longcall_conn_id] = secret, time.monotonic() + _SECRET_KEPT_S
        return secret


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
        access = await in_thread(find_access, route)
        if route not in routers:  # another wait may have been quicker
            config = router_config()
            transport = access.open()
            routers[route] = SharedRouter(
                router=Router(transport, config=config, on_set_aside=_count), transport=transport
            )
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


def _count(_aside: SetAside) -> None:
    count_set_aside()


def _gauge(routers: dict[PubSubRoute, SharedRouter]) -> None:
    gauge_waits(sum(shared.users for shared in routers.values()))


def router_config() -> RouterConfig:
    """Return how patient this deployment's routers are: options of section `[longcall]`.

    Raises:
        ContractError: names the option.
    """
    hours = longcall_setting("set_aside_after_hours")
    try:
        set_aside_after = timedelta(hours=float(hours)) if hours else RouterConfig().set_aside_after
    except ValueError as error:
        raise ContractError("[longcall] set_aside_after_hours", f"{hours!r} is no number") from error
    return RouterConfig(
        set_aside_after=set_aside_after, dead_letter_topic=longcall_setting("dead_letter_topic")
    )
