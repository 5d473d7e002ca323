"""Who waits for messages is woken in turn, when there is one for it, and nobody's turn is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from longcall.broker.core.leases import Consumer
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.errors import FailedPrecondition, NotFound
from longcall.broker.rules.subscriptions import checked_subscription
from longcall.broker.wire import Wire


def _subscription(**fields: Any) -> ActiveSubscription:
    wanted = Wire.Subscription(name="projects/p/subscriptions/sub", topic="projects/p/topics/top", **fields)
    return ActiveSubscription(
        1, checked_subscription(wanted, name_if_none="none"), active_s=0.0, serials=count(1)
    )


def _take(subscription: ActiveSubscription, consumer: Consumer) -> list[int]:
    taken = subscription.take(consumer, now_s=0.0, lease_s=10.0, max_messages=1000, max_bytes=1 << 20)
    return [lease.message_id for lease in taken]


class _Waiters:
    """Consumers that wait in tasks, in the order in which they were added."""

    def __init__(self, subscription: ActiveSubscription) -> None:
        self.subscription = subscription
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, consumer: Consumer) -> asyncio.Task[None]:
        task = asyncio.create_task(self.subscription.wait(consumer))
        self.tasks.append(task)
        await _settle(task)
        return task

    async def woken(self) -> list[bool]:
        await _settle(*self.tasks)
        return [task.done() and not task.cancelled() for task in self.tasks]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _settle(*tasks: asyncio.Task[None]) -> None:
    for _ in range(3):
        await asyncio.wait(tasks, timeout=0)  # whatever can run, runs


async def test_one_message_wakes_the_one_that_waited_longest() -> None:
    subscription = _subscription()
    waiters = _Waiters(subscription)
    await waiters.add(Consumer())
    await waiters.add(Consumer())
    subscription.queue.add(1, 1)
    subscription.notify()
    assert await waiters.woken() == [True, False]
    await waiters.close()


async def test_full_consumer_does_not_take_the_turn_of_one_with_room() -> None:
    subscription = _subscription()
    full = Consumer(max_messages=1)
    subscription.queue.add(1, 1)
    assert _take(subscription, full) == [1]
    waiters = _Waiters(subscription)
    await waiters.add(full)
    await waiters.add(Consumer())
    subscription.queue.add(2, 1)
    subscription.notify()
    assert await waiters.woken() == [False, True]
    await waiters.close()


async def test_full_consumer_is_woken_when_an_ack_makes_room() -> None:
    subscription = _subscription()
    full = Consumer(max_messages=1)
    subscription.queue.add(1, 1)
    subscription.queue.add(2, 1)
    assert _take(subscription, full) == [1]
    waiters = _Waiters(subscription)
    await waiters.add(full)
    subscription.queue.discard(1)
    subscription.notify()
    assert await waiters.woken() == [True]
    assert _take(subscription, full) == [2]
    await waiters.close()


async def test_turn_of_one_that_left_goes_to_the_next() -> None:
    subscription = _subscription()
    waiters = _Waiters(subscription)
    leaving = await waiters.add(Consumer())
    await waiters.add(Consumer())
    subscription.queue.add(1, 1)
    subscription.notify()
    leaving.cancel()  # woken, and gone before it could take
    with suppress(asyncio.CancelledError):
        await leaving
    assert (await waiters.woken())[1]
    await waiters.close()


async def test_backlog_is_shared_among_those_who_wait() -> None:
    subscription = _subscription()
    waiters = _Waiters(subscription)
    for _ in range(3):
        await waiters.add(Consumer())
    for message_id in range(1, 101):
        subscription.queue.add(message_id, 1)
    assert len(_take(subscription, Consumer())) == 25
    assert await waiters.woken() == [True, True, True]
    await waiters.close()


async def test_delete_tells_those_who_wait_and_those_who_come() -> None:
    subscription = _subscription()
    waiters = _Waiters(subscription)
    waiting = await waiters.add(Consumer())
    subscription.delete()
    for told in (waiting, subscription.wait(Consumer())):
        with pytest.raises(NotFound, match="resource=sub"):
            await told
    with pytest.raises(NotFound):
        _take(subscription, Consumer())
    assert subscription.is_deleted


async def test_open_stream_keeps_a_subscription_alive() -> None:
    subscription = _subscription(
        expiration_policy={"ttl": {"seconds": 86400}}, message_retention_duration={"seconds": 86400}
    )
    assert not subscription.has_expired(86399.0)
    assert subscription.has_expired(86400.0)
    with subscription.streaming():
        assert not subscription.has_expired(1e9)
    assert subscription.has_expired(1e9)


def test_subscription_without_ttl_never_expires() -> None:
    assert not _subscription(expiration_policy={}).has_expired(1e12)


def test_subscription_is_spared_for_a_while_after_the_broker_was_away() -> None:
    subscription = _subscription()
    subscription.spare(1e9, grace_s=600.0)
    assert not subscription.has_expired(1e9 + 599.0)
    assert subscription.has_expired(1e9 + 600.0)


def test_each_takes_from_its_own_kind_of_subscription() -> None:
    pulled = _subscription()
    pushed = _subscription(push_config={"push_endpoint": "http://h/"})
    assert _take(pulled, Consumer()) == []
    assert _take(pushed, Consumer(pushes=True)) == []
    with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
        _take(pushed, Consumer())


async def test_who_waits_is_told_when_the_subscription_becomes_push() -> None:
    subscription = _subscription()
    waiting = await _Waiters(subscription).add(Consumer())
    pushing = type(subscription.body)()
    pushing.CopyFrom(subscription.body)
    pushing.push_config.push_endpoint = "http://h/"
    subscription.update(pushing)
    with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
        await waiting
