"""The delivery queue: every message is in one place, and leaves only by an ack or a discard."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from longcall.broker.core.delivery import Consumer, DeliveryQueue, Lease
from longcall.broker.rules.backoff import RetryDelays

WIDE = {"max_messages": 1000, "max_bytes": 1 << 30}


def _queue(*sizes: int, delays: RetryDelays | None = None) -> DeliveryQueue:
    queue = DeliveryQueue(delays or RetryDelays())
    for message_id, size in enumerate(sizes, start=1):
        queue.add(message_id, size)
    return queue


def _take(queue: DeliveryQueue, consumer: Consumer | None = None, *, now_s: float = 0.0) -> list[Lease]:
    return queue.take(consumer or Consumer(), now_s=now_s, lease_s=10.0, **WIDE)


def _ids(leases: list[Lease]) -> list[int]:
    return [lease.message_id for lease in leases]


def test_messages_are_taken_in_the_order_of_publishing() -> None:
    assert _ids(_take(_queue(1, 1, 1))) == [1, 2, 3]


def test_consumer_is_given_no_more_messages_than_it_has_room_for() -> None:
    queue, consumer = _queue(1, 1, 1), Consumer(max_messages=2)
    assert _ids(_take(queue, consumer)) == [1, 2]
    queue.acknowledge(1)
    assert _ids(_take(queue, consumer)) == [3]


def test_consumer_is_given_bytes_until_it_is_full_and_one_message_always() -> None:
    queue, consumer = _queue(100, 1), Consumer(max_bytes=10)
    assert _ids(_take(queue, consumer)) == [1]
    assert _take(queue, consumer) == []
    queue.acknowledge(1)
    assert _ids(_take(queue, consumer)) == [2]


def test_one_answer_is_kept_small_but_never_empty() -> None:
    queue = _queue(600, 600, 600)
    taken = queue.take(Consumer(), now_s=0.0, lease_s=10.0, max_messages=10, max_bytes=1000)
    assert _ids(taken) == [1]


def test_expired_lease_is_redelivered_once_with_the_next_generation() -> None:
    queue = _queue(1)
    _take(queue)
    assert queue.next_expiry_s() == 10.0
    queue.expire(now_s=9.9)
    assert queue.ready == 0
    queue.expire(now_s=10.0)
    assert [(lease.message_id, lease.generation) for lease in _take(queue, now_s=10.0)] == [(1, 2)]
    assert _take(queue, now_s=10.0) == []


def test_extended_lease_ends_at_its_new_time_only() -> None:
    queue = _queue(1)
    _take(queue)
    queue.extend(1, 1, now_s=5.0, lease_s=60.0)
    queue.expire(now_s=10.0)
    assert (queue.ready, queue.next_expiry_s()) == (0, 65.0)
    queue.expire(now_s=65.0)
    assert queue.ready == 1


def test_shortened_lease_ends_early() -> None:
    queue = _queue(1)
    _take(queue)
    queue.extend(1, 1, now_s=1.0, lease_s=2.0)
    assert queue.next_expiry_s() == 3.0
    queue.expire(now_s=3.0)
    assert queue.ready == 1


def test_nack_frees_the_room_and_puts_the_message_behind_the_others() -> None:
    queue, consumer = _queue(1, 1), Consumer(max_messages=1)
    _take(queue, consumer)
    queue.extend(1, 1, now_s=0.0, lease_s=0)
    assert consumer.messages == 0
    assert _ids(_take(queue)) == [2, 1]


def test_superseded_delivery_extends_nothing_and_may_still_acknowledge() -> None:
    queue = _queue(1)
    _take(queue)
    queue.expire(now_s=10.0)
    _take(queue, now_s=10.0)
    queue.extend(1, 1, now_s=10.0, lease_s=0)
    assert queue.ready == 0
    assert queue.acknowledge(1)
    assert not queue.acknowledge(1)
    assert len(queue) == 0


def test_nacked_message_rests_twice_as_long_each_time_up_to_the_maximum() -> None:
    queue = _queue(1, delays=RetryDelays(min_s=2.0, max_s=5.0))
    now_s = 0.0
    for rest_s in (2.0, 4.0, 5.0, 5.0):
        (lease,) = _take(queue, now_s=now_s)
        queue.extend(1, lease.generation, now_s=now_s, lease_s=0)
        assert queue.next_expiry_s() == now_s + rest_s
        queue.expire(now_s=now_s + rest_s - 0.01)
        assert queue.ready == 0
        now_s += rest_s
        queue.expire(now_s=now_s)


def test_timers_of_leases_that_ended_do_not_pile_up() -> None:
    queue = DeliveryQueue()
    queue.add(0, 1)
    _take(queue)  # an old lease, which keeps the later timers from coming up
    for message_id in range(1, 1000):
        queue.add(message_id, 1)
        _take(queue, now_s=1.0)
        queue.acknowledge(message_id)
    assert len(queue._timers) < 200
    assert queue.next_expiry_s() == 10.0


class Life(RuleBasedStateMachine):
    """Any sequence of what can happen, against a model that only counts."""

    leases: Bundle[Lease] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.queue = DeliveryQueue(RetryDelays(min_s=3.0, max_s=7.0))
        self.consumers = [Consumer(max_messages=2), Consumer(max_bytes=20)]
        self.now_s = 0.0
        self.added = 0
        self.alive: set[int] = set()

    @rule(size=st.integers(1, 15))
    def publish(self, size: int) -> None:
        self.added += 1
        self.alive.add(self.added)
        self.queue.add(self.added, size)

    @rule(target=leases, who=st.sampled_from([0, 1]), lease_s=st.sampled_from([10.0, 60.0]))
    def take(self, who: int, lease_s: float) -> Lease:
        taken = self.queue.take(
            self.consumers[who], now_s=self.now_s, lease_s=lease_s, max_messages=1, max_bytes=1000
        )
        return taken[0] if taken else Lease(0, 0, 0, 0.0, self.consumers[who])

    @rule(lease=consumes(leases))
    def acknowledge(self, lease: Lease) -> None:
        assert self.queue.acknowledge(lease.message_id) == (lease.message_id in self.alive)
        self.alive.discard(lease.message_id)

    @rule(lease=leases, lease_s=st.sampled_from([0.0, 5.0, 30.0]))
    def extend(self, lease: Lease, lease_s: float) -> None:
        self.queue.extend(lease.message_id, lease.generation, now_s=self.now_s, lease_s=lease_s)

    @rule(passed_s=st.floats(0.1, 40.0))
    def let_time_pass(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.queue.expire(now_s=self.now_s)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        ids = self.queue.message_ids()
        assert sorted(ids) == sorted(self.alive)
        assert len(self.queue) == len(ids)

    @invariant()
    def room_is_what_the_leases_leave(self) -> None:
        held = list(self.queue._leases.values())
        for consumer in self.consumers:
            mine = [lease for lease in held if lease.consumer is consumer]
            assert (consumer.messages, consumer.bytes) == (len(mine), sum(x.size_bytes for x in mine))

    @invariant()
    def what_is_not_ready_has_a_timer_ahead(self) -> None:
        next_s = self.queue.next_expiry_s()
        assert (next_s is None) == (self.queue.ready == len(self.queue))
        assert next_s is None or next_s > self.now_s

    def teardown(self) -> None:
        self.queue.expire(now_s=self.now_s + 1e6)  # leases end and rest
        self.queue.expire(now_s=self.now_s + 2e6)
        assert self.queue.ready == len(self.alive)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
