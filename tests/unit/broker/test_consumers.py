"""Who takes messages is told when a lease ends, however it ends; one by one, a line gives one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from longcall.broker.core.delivery import DeliveryQueue
from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.rules.delivery import DeliveryRules

ENDS: dict[str, Callable[[DeliveryQueue, Lease], object]] = {
    "ack": lambda queue, lease: queue.acknowledge(lease.message_id, lease.serial, now_s=1.0),
    "nack": lambda queue, lease: queue.extend(lease.message_id, lease.serial, now_s=1.0, lease_s=0),
    "expiry": lambda queue, lease: queue.expire(now_s=lease.until_s),
    "discard": lambda queue, lease: queue.discard(lease.message_id),
    "restart": lambda queue, lease: queue.restart(),
}


def _take_one(queue: DeliveryQueue, consumer: Consumer) -> list[Lease]:
    return queue.take(consumer, now_s=0.0, lease_s=10.0, max_messages=1, max_bytes=1 << 30)


@pytest.mark.parametrize("how", ENDS)
def test_consumer_is_told_of_the_end_of_each_lease_once(how: str) -> None:
    ended: list[Lease] = []
    queue, consumer = DeliveryQueue(), Consumer(on_release=ended.append)
    queue.add(1, 5)
    (lease,) = _take_one(queue, consumer)
    ENDS[how](queue, lease)
    assert ended == [lease]
    assert (consumer.messages, consumer.bytes) == (0, 0)


def test_extended_lease_goes_on() -> None:
    ended: list[Lease] = []
    queue = DeliveryQueue()
    queue.add(1, 5)
    (lease,) = _take_one(queue, Consumer(on_release=ended.append))
    assert queue.extend(1, lease.serial, now_s=5.0, lease_s=20)
    queue.expire(now_s=24.0)
    assert ended == []


def test_who_takes_one_by_one_has_one_of_each_key() -> None:
    queue, consumer = DeliveryQueue(DeliveryRules(ordered=True)), Consumer()
    for message_id, key in enumerate("aabb", start=1):
        queue.add(message_id, 1, key=key)
    taken = [lease for _ in range(4) for lease in _take_one(queue, consumer)]
    assert [lease.message_id for lease in taken] == [1, 3]
    queue.acknowledge(1, taken[0].serial, now_s=1.0)
    assert [lease.message_id for lease in _take_one(queue, consumer)] == [2]
