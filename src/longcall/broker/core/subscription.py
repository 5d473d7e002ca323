"""One subscription at work: its queue, and those who wait for something to be in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from longcall.broker.core.delivery import DeliveryQueue
from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.core.messages import HeldMessage
from longcall.broker.errors import BrokerError, FailedPrecondition, NotFound
from longcall.broker.protos import Subscription
from longcall.broker.rules.filters import Filter, parse_filter
from longcall.broker.rules.subscriptions import delivery_rules, expires_after_s

__all__ = ["ActiveSubscription"]


class ActiveSubscription:
    """A subscription in memory. For one event loop.

    Attributes:
        number: tells it from an earlier one of the same name.
        body: the `Subscription` message as clients see it.
        filter: parsed; never changes.
        queue: what is to be delivered.
        retained: ids of messages that are acknowledged and kept, if it retains them.
        active_s: epoch seconds of the last activity.
        saved_active_s: the same, as the store has it.
        alarm_s: when the broker is due to look at the queue's timers; None: not at all.
    """

    def __init__(self, number: int, body: Subscription, *, active_s: float, serials: Iterator[int]) -> None:
        self.number = number
        self.body = body
        self.filter: Filter = parse_filter(body.filter)
        self.queue = DeliveryQueue(delivery_rules(body), serials=serials)
        self.retained: dict[int, None] = {}
        self.active_s = active_s
        self.saved_active_s = active_s
        self.alarm_s: float | None = None
        self._ended: BrokerError | None = None
        self._waiting: list[_Place] = []  # the first has waited longest
        self._streams: set[asyncio.Future[None]] = set()

    @property
    def name(self) -> str:
        """Full path."""
        return str(self.body.name)

    @property
    def is_deleted(self) -> bool:
        """Whether it is gone, or detached from its topic, and holds nothing any more."""
        return isinstance(self._ended, NotFound | FailedPrecondition)

    @property
    def is_push(self) -> bool:
        """Whether the broker brings its messages to an endpoint."""
        return bool(self.body.push_config.push_endpoint)

    @property
    def is_exactly_once(self) -> bool:
        """Whether acks are confirmed."""
        return self.queue.rules.exactly_once

    @property
    def streams(self) -> int:
        """How many are open; an open one is activity."""
        return len(self._streams)

    def update(self, body: Subscription) -> None:
        """Take on a changed body."""
        was_push, self.body = self.is_push, body
        self.queue.rules = delivery_rules(body)
        if self.is_push and not was_push:
            self.interrupt(_not_pullable())
            self._wake_all()  # a pull that waits learns it when it tries to take

    def receive(
        self,
        message_id: int,
        held: HeldMessage,
        *,
        delay_s: float = 0.0,
        now_s: float = 0.0,
        copies: int = 0,
    ) -> None:
        """Queue a message that was published; `delay_s` and `copies` as `DeliveryQueue.add` has them."""
        key = held.body.ordering_key
        self.queue.add(message_id, held.size_bytes, key=key, delay_s=delay_s, now_s=now_s, copies=copies)

    def restore(self, message_id: int, held: HeldMessage, *, acked: bool) -> None:
        """Queue a message that the store has kept, or keep one that is acknowledged."""
        if acked:
            self.retained[message_id] = None
        else:
            self.receive(message_id, held)

    def has_expired(self, now_s: float) -> bool:
        """Tell whether it was unused for longer than its expiration allows."""
        ttl_s = expires_after_s(self.body)
        return ttl_s is not None and not self._streams and now_s - self.active_s >= ttl_s

    def spare(self, now_s: float, *, grace_s: float) -> None:
        """Let it live for `grace_s` at least: nobody could use it while the broker was away."""
        ttl_s = expires_after_s(self.body)
        if ttl_s is not None:
            self.active_s = max(self.active_s, now_s - ttl_s + grace_s)

    def delete(self) -> None:
        """End it for good."""
        self.end(NotFound(f"Resource not found (resource={self.name.rpartition('/')[2]})."))

    def detach(self) -> None:
        """End its deliveries for good; it stays to be looked at, and deleted."""
        self.end(_detached())

    def end(self, why: BrokerError) -> None:
        """Give nothing more away; whoever waits, streams, or comes to take, is told why."""
        self._ended = why
        self._wake_all()
        self.interrupt(why)

    def interrupt(self, why: BrokerError) -> None:
        """End the streams that are open, and no others."""
        for stream in self._streams:
            if not stream.done():
                stream.set_exception(why)

    @contextmanager
    def streaming(self) -> Iterator[asyncio.Future[None]]:
        """Count as an open stream; yields what raises when that has to end.

        Raises:
            FailedPrecondition: it is not one to pull from.
        """
        self.check_pullable()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._streams.add(ended)
        try:
            yield ended
        finally:
            self._streams.discard(ended)
            if ended.done():
                ended.exception()  # somebody has seen it
            else:
                ended.cancel()

    def check_pullable(self) -> None:
        """Return if clients may pull from it.

        Raises:
            FailedPrecondition: it is detached from its topic, or pushes.
        """
        if self.body.detached:
            raise _detached()
        if self.is_push:
            raise _not_pullable()

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
        self._check(consumer)
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
        self._check(consumer)

    def take(
        self, consumer: Consumer, *, now_s: float, lease_s: float, max_messages: int, max_bytes: int
    ) -> list[Lease]:
        """Lease what is ready, leaving a fair share to the others that wait with room.

        Raises:
            BrokerError: why there is nothing more, as `wait`.
        """
        self._check(consumer)
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

    def _check(self, consumer: Consumer) -> None:
        if self._ended is not None:
            raise self._ended
        if self.is_push and not consumer.pushes:
            raise _not_pullable()

    def _wake_all(self) -> None:
        for place in self._waiting:
            place.wake()
        self._waiting.clear()


def _detached() -> FailedPrecondition:
    return FailedPrecondition("The subscription is detached from its topic: it receives nothing any more.")


def _not_pullable() -> FailedPrecondition:
    return FailedPrecondition("This method is not supported for this subscription type.")


class _Place:
    """Where one consumer waits its turn."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)
