"""One subscription at work: its queue, and those who wait for something to be in it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from longcall.broker.delivery import Consumer, DeliveryQueue, Lease
from longcall.broker.errors import NotFound
from longcall.broker.filters import Filter, parse_filter
from longcall.broker.resources import expires_after_s, retry_delays

__all__ = ["ActiveSubscription"]


class ActiveSubscription:
    """A subscription in memory. For one event loop.

    Attributes:
        number: tells it from an earlier one of the same name.
        body: the `Subscription` message as clients see it.
        filter: parsed; never changes.
        queue: what is to be delivered.
        active_s: epoch seconds of the last activity.
        saved_active_s: the same, as the store has it.
        streams: how many are open; an open one is activity.
        alarm_s: when the broker is due to look at the queue's timers; None: not at all.
    """

    def __init__(self, number: int, body: Any, *, active_s: float) -> None:
        self.number = number
        self.body = body
        self.filter: Filter = parse_filter(body.filter)
        self.queue = DeliveryQueue(retry_delays(body))
        self.active_s = active_s
        self.saved_active_s = active_s
        self.streams = 0
        self.alarm_s: float | None = None
        self._deleted = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def name(self) -> str:
        """Full path."""
        return str(self.body.name)

    @property
    def is_deleted(self) -> bool:
        """Whether it is gone; whoever holds on to it must let go."""
        return self._deleted

    def update(self, body: Any) -> None:
        """Take on a changed body."""
        self.body = body
        self.queue.delays = retry_delays(body)

    def has_expired(self, now_s: float) -> bool:
        """Tell whether it was unused for longer than its expiration allows."""
        ttl_s = expires_after_s(self.body)
        return ttl_s is not None and self.streams == 0 and now_s - self.active_s >= ttl_s

    def delete(self) -> None:
        """End it; everybody who waits is told."""
        self._deleted = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(self.gone())
        self._waiting.clear()

    def gone(self) -> NotFound:
        """Return what a request for a deleted subscription is answered."""
        return NotFound(f"Resource not found (resource={self.name.rpartition('/')[2]}).")

    def notify(self) -> None:
        """Wake as many who wait as there are messages for."""
        for _ in range(min(self.queue.ready, len(self._waiting))):
            self._wake_one()

    def notify_room(self) -> None:
        """Wake everybody: somebody may have room again."""
        if self.queue.ready:
            for _ in range(len(self._waiting)):
                self._wake_one()

    async def wait(self) -> None:
        """Wait until there may be something to take.

        Raises:
            NotFound: the subscription was deleted.
        """
        if self._deleted:
            raise self.gone()
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)

    def take(
        self, consumer: Consumer, *, now_s: float, lease_s: float, max_messages: int, max_bytes: int
    ) -> list[Lease]:
        """Lease what is ready, leaving a fair share to the others that are waiting."""
        share = -(-self.queue.ready // (len(self._waiting) + 1))
        taken = self.queue.take(
            consumer,
            now_s=now_s,
            lease_s=lease_s,
            max_messages=min(max_messages, max(share, 1)),
            max_bytes=max_bytes,
        )
        if self.queue.ready:
            self.notify()
        return taken

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
