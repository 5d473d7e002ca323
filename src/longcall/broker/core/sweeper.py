"""What time does to a broker: leases end, messages and subscriptions grow too old."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from longcall.broker.core.policies import Policies
from longcall.broker.core.snapshots import Snapshots
from longcall.broker.core.state import BrokerState
from longcall.broker.core.store import Write
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.core.subscriptions import Subscriptions, saved_subscription
from longcall.broker.core.timers import Timers
from longcall.broker.core.topic import ActiveTopic
from longcall.broker.core.traffic import Traffic
from longcall.broker.wire import seconds_of

__all__ = ["Sweeper"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_AT_ONCE: Final = 500


class Sweeper:
    """Does what has become due, whenever it is called."""

    def __init__(
        self,
        state: BrokerState,
        timers: Timers,
        traffic: Traffic,
        subscriptions: Subscriptions,
        snapshots: Snapshots,
        policies: Policies,
    ) -> None:
        self._state = state
        self._timers = timers
        self._traffic = traffic
        self._subscriptions = subscriptions
        self._snapshots = snapshots
        self._policies = policies
        self._oldest_s: float | None = None

    def end_leases(self) -> None:
        """End the leases, rests and pauses whose time has come."""
        now_s = self._state.clock.monotonic_s()
        for subscription in self._timers.due(now_s):
            for message_id in subscription.queue.expire(now_s=now_s):
                self._state.observer.note("expired", subscription.name, message_id)
            self._traffic.set_aside(subscription)
            subscription.notify()
            self._timers.watch(subscription)
        for action in self._timers.due_calls(now_s):
            action()

    async def sweep(self) -> None:
        """Delete what has expired and messages that were kept long enough; save who was active.

        Requests are served in between: ten thousand subscriptions take a while.
        """
        now_s = self._state.now_s()
        self._oldest_s = self._state.messages.oldest_s()  # later, none older comes
        for batch in _batched(list(self._state.subscriptions.values()), _AT_ONCE):
            writes = [
                write
                for subscription in batch
                if self._state.subscriptions.get(subscription.name) is subscription
                for write in self._sweep_subscription(subscription, now_s)
            ]
            if writes:
                await self._state.store.write(writes)
            await asyncio.sleep(0)
        writes = list(self._state.messages.forget_unheld())
        for snapshot in list(self._state.snapshots.values()):
            if snapshot.has_expired(now_s):
                log.info("Snapshot %s has expired", snapshot.name)
                writes += self._snapshots.remove(snapshot)
        for topic in self._state.topics.values():
            writes += self._sweep_topic(topic, now_s)
        writes += self._policies.remove_orphans()
        if writes:
            await self._state.store.write(writes)

    def _sweep_subscription(self, subscription: ActiveSubscription, now_s: float) -> Sequence[Write]:
        if subscription.has_expired(now_s):
            log.info("Subscription %s has expired: it was not used", subscription.name)
            return self._subscriptions.remove(subscription)
        writes: list[Write] = []
        if subscription.streams:
            subscription.active_s = now_s
        if subscription.active_s > subscription.saved_active_s:
            writes.append(saved_subscription(subscription))
        oldest_s = now_s - seconds_of(subscription.body.message_retention_duration)
        stale = self._published_before(oldest_s, subscription.queue)
        if stale:
            log.info(
                "Subscription %s: %d messages were not acknowledged in time", subscription.name, len(stale)
            )
            writes += self._subscriptions.drop(subscription, stale)
        too_old = self._published_before(oldest_s, subscription.retained)
        writes += self._subscriptions.release_retained(subscription, too_old)
        return writes

    def _sweep_topic(self, topic: ActiveTopic, now_s: float) -> Sequence[Write]:
        oldest_s = now_s - seconds_of(topic.body.message_retention_duration)
        too_old = self._published_before(oldest_s, topic.retained)
        if not too_old:
            return []
        for message_id in too_old:
            del topic.retained[message_id]
        gone = Write.deliveries_gone((topic.number, message_id) for message_id in too_old)
        return [gone, *self._state.messages.release(too_old)]

    def _published_before(self, time_s: float, message_ids: Iterable[int]) -> list[int]:
        if self._oldest_s is None or self._oldest_s >= time_s:
            return []
        return [i for i in message_ids if self._state.messages[i].published_s < time_s]


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield the items in lists of at most `size`; as `itertools.batched` from Python 3.12 on."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
