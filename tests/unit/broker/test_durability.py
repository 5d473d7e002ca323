"""Whatever is done to a broker, its file says the same as its memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from longcall.broker.core.ack_ids import AckId, encode_ack_id
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.core.state import BrokerState
from longcall.broker.core.store import SqliteStore
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.wire import Wire
from longcall.testing.clock import VirtualClock

TOPIC, DEAD = "projects/p/topics/top", "projects/p/topics/dead"
PLAIN, KEEPING, FRAGILE, GRAVES = (
    f"projects/p/subscriptions/{n}" for n in ("plain", "keeping", "fragile", "graves")
)
WHICH = st.sampled_from([PLAIN, KEEPING, FRAGILE])
SNAPSHOTS = st.sampled_from([f"projects/p/snapshots/snap-{n}" for n in range(2)])


def _contents(state: BrokerState) -> dict[str, Any]:
    """Return everything that must last, in a form that can be compared."""
    subscriptions = {
        name: (s.number, s.body.SerializeToString(), sorted(s.queue.message_ids()), sorted(s.retained))
        for name, s in state.subscriptions.items()
    }
    return {
        "topics": {
            n: (t.number, t.body.SerializeToString(), sorted(t.retained)) for n, t in state.topics.items()
        },
        "subscriptions": subscriptions,
        "snapshots": {
            n: (s.number, s.body.SerializeToString(), sorted(s.message_ids))
            for n, s in state.snapshots.items()
        },
        "messages": {i: (h.body.SerializeToString(), h.holders) for i, h in state.messages._held.items()},
    }


class Broker(RuleBasedStateMachine):
    """Any sequence of requests and of time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._clock = VirtualClock()
        self._store = SqliteStore(Path(self._folder.name))
        self._core = BrokerCore(self._store, self._clock)
        self._leases: list[tuple[ActiveSubscription, Lease]] = []

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(coroutine)

    @initialize()
    def set_up(self) -> None:
        async def set_up() -> None:
            self._core.load(self._store.open())
            retention = {"seconds": 3600}
            await self._core.topics.create(Wire.Topic(name=TOPIC, message_retention_duration=retention))
            await self._core.topics.create(Wire.Topic(name=DEAD))
            letters = {"dead_letter_topic": DEAD, "max_delivery_attempts": 5}
            for wanted in (
                Wire.Subscription(
                    name=PLAIN, topic=TOPIC, filter="attributes:a", enable_message_ordering=True
                ),
                Wire.Subscription(name=KEEPING, topic=TOPIC, retain_acked_messages=True),
                Wire.Subscription(
                    name=FRAGILE, topic=TOPIC, dead_letter_policy=letters, enable_exactly_once_delivery=True
                ),
                Wire.Subscription(name=GRAVES, topic=DEAD),
            ):
                await self._core.subscriptions.create(wanted)

        self._run(set_up())

    @rule(
        attributes=st.sampled_from([{}, {"a": "1"}]), key=st.sampled_from(["", "k"]), count=st.integers(1, 3)
    )
    def publish(self, attributes: dict[str, str], key: str, count: int) -> None:
        message = Wire.PubsubMessage(data=b"x", attributes=attributes, ordering_key=key)
        if TOPIC in self._core.state.topics:
            self._run(self._core.traffic.publish(TOPIC, [message] * count, request_bytes=10))

    @rule(name=WHICH, count=st.integers(1, 3))
    def take(self, name: str, count: int) -> None:
        if name in self._core.state.subscriptions:
            subscription = self._core.state.subscription(name)
            now_s = self._clock.monotonic_s()
            leases = subscription.queue.take(
                Consumer(), now_s=now_s, lease_s=10, max_messages=count, max_bytes=1000
            )
            self._core.timers.watch(subscription)
            self._leases += [(subscription, lease) for lease in leases]

    def _ack_id(self, choice: int) -> tuple[ActiveSubscription, list[str]]:
        subscription, lease = self._leases[choice % len(self._leases)]
        return subscription, [encode_ack_id(AckId(subscription.number, lease.message_id, lease.serial))]

    @rule(choice=st.integers(0, 1000))
    def acknowledge(self, choice: int) -> None:
        if self._leases:
            self._run(self._core.traffic.acknowledge(*self._ack_id(choice)))

    @rule(choice=st.integers(0, 1000), times=st.integers(1, 6))
    def give_back(self, choice: int, times: int) -> None:
        async def give_back() -> None:
            self._core.traffic.extend(*self._ack_id(choice), lease_s=0)

        for _ in range(times if self._leases else 0):
            self._run(give_back())

    @rule(name=WHICH, snapshot=SNAPSHOTS)
    def take_snapshot(self, name: str, snapshot: str) -> None:
        state = self._core.state
        if name in state.subscriptions and snapshot not in state.snapshots and TOPIC in state.topics:
            self._run(
                self._core.snapshots.create(Wire.CreateSnapshotRequest(name=snapshot, subscription=name))
            )

    @rule(name=WHICH, snapshot=SNAPSHOTS)
    def seek_to_snapshot(self, name: str, snapshot: str) -> None:
        state = self._core.state
        if name in state.subscriptions and snapshot in state.snapshots:
            self._run(self._core.snapshots.seek_to_snapshot(state.subscription(name), snapshot))

    @rule(name=WHICH, back_s=st.sampled_from([-10.0, 0.0, 60.0, 7200.0]))
    def seek_to_time(self, name: str, back_s: float) -> None:
        if name in self._core.state.subscriptions:
            time_s = (self._clock.now() - timedelta(seconds=back_s)).timestamp()
            self._run(self._core.snapshots.seek_to_time(self._core.state.subscription(name), time_s))

    @rule(snapshot=SNAPSHOTS)
    def delete_snapshot(self, snapshot: str) -> None:
        if snapshot in self._core.state.snapshots:
            self._run(self._core.snapshots.delete(snapshot))

    @rule(passed_s=st.sampled_from([1.0, 11.0, 1000.0, 86400.0]))
    def let_time_pass(self, passed_s: float) -> None:
        async def catch_up() -> None:
            self._core.sweeper.end_leases()
            await self._core.sweeper.sweep()

        self._clock.advance(passed_s)
        self._run(catch_up())

    @rule(name=WHICH, how=st.sampled_from(["detach", "delete"]))
    def lose_subscription(self, name: str, how: str) -> None:
        if name in self._core.state.subscriptions and len(self._leases) > 6:
            self._run(getattr(self._core.subscriptions, how)(name))
            self._leases = [(s, lease) for s, lease in self._leases if s.name != name]

    @rule()
    def lose_topic(self) -> None:
        if TOPIC in self._core.state.topics and len(self._leases) > 9:
            self._run(self._core.topics.delete(TOPIC))

    @rule()
    def start_again(self) -> None:
        """As after a kill: what is in memory is gone."""
        self._store.close()
        self._leases = []

        async def load() -> None:
            self._core.load(self._store.open())

        self._run(load())

    @invariant()
    def file_says_what_memory_says(self) -> None:
        if not self._core.state.topics and not self._core.state.subscriptions:
            return
        self._run(self._core.sweeper.sweep())  # what nobody holds goes then
        self._store.close()
        copy = BrokerState(self._store, self._clock)

        async def load() -> None:
            copy.load(self._store.open())

        self._run(load())
        assert _contents(copy) == _contents(self._core.state)

    def teardown(self) -> None:
        self._store.close()
        self._loop.close()
        self._folder.cleanup()


TestBroker = Broker.TestCase
TestBroker.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
