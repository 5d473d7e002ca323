"""One subscription at work: its queue, and those who wait for something to be in it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from longcall.broker.core.delivery import Consumer, DeliveryQueue, Lease
from longcall.broker.errors import BrokerError, NotFound
from longcall.broker.rules.filters import Filter, parse_filter
from longcall.broker.rules.subscriptions import expires_after_s, retry_delays

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
        self._ended: BrokerError | None = None
        self._waiting: list[_Place] = []  # the first has waited longest

    @property
    def name(self) -> str:
        """Full path."""
        return str(self.body.name)

    @property
    def is_deleted(self) -> bool:
        """Whether it is gone; whoever holds on to it must let go."""
        return isinstance(self._ended, NotFound)

    def update(self, body: Any) -> None:
        """Take on a changed body."""
        self.body = body
        self.queue.delays = retry_delays(body)

    def has_expired(self, now_s: float) -> bool:
        """Tell whether it was unused for longer than its expiration allows."""
        ttl_s = expires_after_s(self.body)
        return ttl_s is not None and self.streams == 0 and now_s - self.active_s >= ttl_s

    def spare(self, now_s: float, *, grace_s: float) -> None:
        """Let it live for `grace_s` at least: nobody could use it while the broker was away."""
        ttl_s = expires_after_s(self.body)
        if ttl_s is not None:
            self.active_s = max(self.active_s, now_s - ttl_s + grace_s)

    def delete(self) -> None:
        """End it for good."""
        self.end(self.gone())

    def end(self, why: BrokerError) -> None:
        """Give nothing more away; whoever waits, or comes to take, is told why."""
        self._ended = why
        for place in self._waiting:
            place.wake()
        self._waiting.clear()

    def gone(self) -> NotFound:
        """Return what a request for a deleted subscription is answered."""
        return NotFound(f"Resource not found (resource={self.name.rpartition('/')[2]}).")

    def notify(self) -> None:
        """Wake those who wait and have room, in turn, at most one for each message that is ready."""
        left = self.queue.ready
        for place in list(self._waiting) if left else ():
            if place.consumer.has_room:
                self._waiting.remove(place)
                place.wake()
                left -= 1
            if not left:
                break

    async def wait(self, consumer: Consumer) -> None:
        """Wait until there may be something that the consumer has room for.

        Raises:
            BrokerError: why there will be nothing more, e.g. NotFound after a delete.
        """
        if self._ended is not None:
            raise self._ended
        place = _Place(consumer)
        self._waiting.append(place)
        try:
            await place.woken
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(place)
            # It may have been woken for a message, and leaves without: that is for somebody else now.
            self.notify()
            raise
        if self._ended is not None:
            raise self._ended

    def take(
        self, consumer: Consumer, *, now_s: float, lease_s: float, max_messages: int, max_bytes: int
    ) -> list[Lease]:
        """Lease what is ready, leaving a fair share to the others that wait with room.

        Raises:
            BrokerError: why there is nothing more, as `wait`.
        """
        if self._ended is not None:
            raise self._ended
        others = sum(place.consumer.has_room for place in self._waiting)
        share = -(-self.queue.ready // (others + 1))
        taken = self.queue.take(
            consumer,
            now_s=now_s,
            lease_s=lease_s,
            max_messages=min(max_messages, max(share, 1)),
            max_bytes=max_bytes,
        )
        self.notify()
        return taken


class _Place:
    """Where one consumer waits its turn."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)
