"""The pushers of a broker: one for each push subscription, as these come, change and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from longcall._core.clock import Clock
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.push.pusher import Pusher
from longcall.broker.push.request import PushRequest

if TYPE_CHECKING:
    from longcall.broker.push.endpoint import Endpoints

__all__ = ["Pushers"]

log = logging.getLogger(__name__)

_MAX_AT_ONCE: Final = 200
"""Requests under way, of all subscriptions: each is a connection, and a process has so many."""


class Pushers:
    """Pushes for all subscriptions that want it. For one event loop."""

    def __init__(self, core: BrokerCore, clock: Clock) -> None:
        self._core = core
        self._clock = clock
        self._pushers: dict[ActiveSubscription, Pusher] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoints: Endpoints | None = None
        self._is_closed = False

    def follow(self, subscription: ActiveSubscription) -> None:
        """Begin, change or end pushing, as the subscription now wants it."""
        pusher = self._pushers.get(subscription)
        if not subscription.is_push or subscription.is_deleted:
            if pusher is not None:
                del self._pushers[subscription]
                pusher.stop()
        elif pusher is not None:
            pusher.take_on_change()
        elif not self._is_closed:
            pusher = Pusher(
                self._core, self._clock, subscription, post=self._post, spawn=self._spawn, share=self._share
            )
            self._pushers[subscription] = pusher
            pusher.start().add_done_callback(lambda _: self._forget(subscription, pusher))

    async def aclose(self, *, grace_s: float) -> None:
        """Leave what is under way `grace_s` to end, then cancel it. Nothing begins any more."""
        self._is_closed = True
        for pusher in self._pushers.values():
            pusher.stop()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._endpoints is not None:
            await self._endpoints.aclose()

    def _forget(self, subscription: ActiveSubscription, pusher: Pusher) -> None:
        if self._pushers.get(subscription) is pusher:
            del self._pushers[subscription]

    def _share(self) -> int:
        busy = sum(pusher.is_busy for pusher in self._pushers.values())
        return max(1, _MAX_AT_ONCE // max(busy, 1))

    async def _post(self, url: str, request: PushRequest) -> int:
        if self._endpoints is None:
            from longcall.broker.push.endpoint import Endpoints  # most brokers never push

            self._endpoints = Endpoints()
        return await self._endpoints.post(url, request)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("Pushing failed", exc_info=task.exception())
