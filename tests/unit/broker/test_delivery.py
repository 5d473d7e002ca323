"""The delivery queue: every message is in one place, and leaves only by an ack or a discard."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from longcall.broker.core.delivery import DeliveryQueue
from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.rules.delivery import DeliveryRules, RetryDelays

WIDE = {"max_messages": 1000, "max_bytes": 1 << 30}


def _queue(*sizes: int, **rules: object) -> DeliveryQueue:
    queue = DeliveryQueue(DeliveryRules(**rules))  # type: ignore[arg-type]
    for message_id, size in enumerate(sizes, start=1):
        queue.add(message_id, size)
    return queue


def _ordered(*keys: str, **rules: object) -> DeliveryQueue:
    """A queue whose messages 1, 2, … have these ordering keys."""
    queue = DeliveryQueue(DeliveryRules(ordered=True, **rules))  # type: ignore[arg-type]
    for message_id, key in enumerate(keys, start=1):
        queue.add(message_id, 1, key=key)
    return queue


def _take(queue: DeliveryQueue, consumer: Consumer | None = None, *, now_s: float = 0.0) -> list[Lease]:
    return queue.take(consumer or Consumer(), now_s=now_s, lease_s=10.0, **WIDE)


def _acknowledge(queue: DeliveryQueue, lease: Lease, *, now_s: float = 0.0) -> tuple[int, ...]:
    outcome = queue.acknowledge(lease.message_id, lease.serial, now_s=now_s)
    assert outcome.valid
    return outcome.settled


def _nack(queue: DeliveryQueue, lease: Lease, *, now_s: float = 0.0) -> None:
    assert queue.extend(lease.message_id, lease.serial, now_s=now_s, lease_s=0)


def _ids(leases: list[Lease]) -> list[int]:
    return [lease.message_id for lease in leases]


def test_messages_are_taken_in_the_order_of_publishing() -> None:
    assert _ids(_take(_queue(1, 1, 1))) == [1, 2, 3]


def test_consumer_is_given_no_more_messages_than_it_has_room_for() -> None:
    queue, consumer = _queue(1, 1, 1), Consumer(max_messages=2)
    first, _ = _take(queue, consumer)
    assert _acknowledge(queue, first) == (1,)
    assert _ids(_take(queue, consumer)) == [3]


def test_consumer_is_given_bytes_until_it_is_full_and_one_message_always() -> None:
    queue, consumer = _queue(100, 1), Consumer(max_bytes=10)
    (large,) = _take(queue, consumer)
    assert _take(queue, consumer) == []
    _acknowledge(queue, large)
    assert _ids(_take(queue, consumer)) == [2]


def test_one_answer_is_kept_small_but_never_empty() -> None:
    queue = _queue(600, 600, 600)
    taken = queue.take(Consumer(), now_s=0.0, lease_s=10.0, max_messages=10, max_bytes=1000)
    assert _ids(taken) == [1]


def test_expired_lease_is_redelivered_once_as_the_next_attempt() -> None:
    queue = _queue(1)
    (first,) = _take(queue)
    assert queue.next_expiry_s() == 10.0
    queue.expire(now_s=9.9)
    assert queue.ready == 0
    assert queue.expire(now_s=10.0) == [1]
    (again,) = _take(queue, now_s=10.0)
    assert (again.message_id, again.attempt, again.serial > first.serial) == (1, 2, True)
    assert _take(queue, now_s=10.0) == []


def test_extended_lease_ends_at_its_new_time_only() -> None:
    queue = _queue(1)
    (lease,) = _take(queue)
    assert queue.extend(1, lease.serial, now_s=5.0, lease_s=60.0)
    queue.expire(now_s=10.0)
    assert (queue.ready, queue.next_expiry_s()) == (0, 65.0)
    queue.expire(now_s=65.0)
    assert queue.ready == 1


def test_shortened_lease_ends_early() -> None:
    queue = _queue(1)
    (lease,) = _take(queue)
    assert queue.extend(1, lease.serial, now_s=1.0, lease_s=2.0)
    assert queue.next_expiry_s() == 3.0
    queue.expire(now_s=3.0)
    assert queue.ready == 1


def test_nack_frees_the_room_and_puts_the_message_behind_the_others() -> None:
    queue, consumer = _queue(1, 1), Consumer(max_messages=1)
    (lease,) = _take(queue, consumer)
    _nack(queue, lease)
    assert consumer.messages == 0
    assert _ids(_take(queue)) == [2, 1]


def test_superseded_delivery_extends_nothing_and_may_still_acknowledge() -> None:
    queue = _queue(1)
    (old,) = _take(queue)
    queue.expire(now_s=10.0)
    _take(queue, now_s=10.0)
    assert not queue.extend(1, old.serial, now_s=10.0, lease_s=0)
    assert queue.ready == 0
    assert _acknowledge(queue, old, now_s=10.0) == (1,)
    assert _acknowledge(queue, old, now_s=10.0) == ()
    assert len(queue) == 0


def test_nacked_message_rests_twice_as_long_each_time_up_to_the_maximum() -> None:
    queue = _queue(1, delays=RetryDelays(min_s=2.0, max_s=5.0))
    now_s = 0.0
    for attempt, rest_s in enumerate((2.0, 4.0, 5.0, 5.0), start=1):
        (lease,) = _take(queue, now_s=now_s)
        assert lease.attempt == attempt
        _nack(queue, lease, now_s=now_s)
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
        (lease,) = _take(queue, now_s=1.0)
        _acknowledge(queue, lease, now_s=1.0)
    assert len(queue._timers) < 200
    assert queue.next_expiry_s() == 10.0


def test_message_with_copies_is_delivered_so_many_times_more() -> None:
    queue, consumer = DeliveryQueue(), Consumer()
    queue.add(1, 5, copies=1)
    first, second = _take(queue, consumer)
    assert (first.message_id, second.message_id, first.serial == second.serial) == (1, 1, False)
    assert (consumer.messages, consumer.bytes) == (1, 5)
    assert _acknowledge(queue, first) == (1,)
    assert consumer.messages == 0


def test_delayed_message_is_ready_when_its_time_has_come() -> None:
    queue = DeliveryQueue()
    queue.add(1, 1, delay_s=5.0, now_s=2.0)
    assert (queue.ready, queue.next_expiry_s()) == (0, 7.0)
    assert queue.expire(now_s=7.0) == []
    assert _ids(_take(queue, now_s=7.0)) == [1]


# Exactly once


def test_exactly_once_ack_counts_for_the_last_delivery_and_in_time_only() -> None:
    queue = _queue(1, exactly_once=True)
    (old,) = _take(queue)
    assert not queue.acknowledge(1, old.serial, now_s=10.0).valid  # late, and not yet redelivered
    queue.expire(now_s=10.0)
    (new,) = _take(queue, now_s=10.0)
    assert not queue.acknowledge(1, old.serial, now_s=11.0).valid
    assert queue.acknowledge(1, new.serial, now_s=11.0) == (True, (1,))


def test_exactly_once_ack_may_be_repeated() -> None:
    queue = _queue(1, exactly_once=True)
    (lease,) = _take(queue)
    assert _acknowledge(queue, lease) == (1,)
    assert _acknowledge(queue, lease, now_s=1000.0) == ()


# Dead letters


def test_message_that_fails_too_often_is_exhausted_and_may_be_revived() -> None:
    queue = _queue(1, max_attempts=2)
    (first,) = _take(queue)
    _nack(queue, first)
    assert queue.take_exhausted() == []
    _take(queue)
    queue.expire(now_s=10.0)
    assert queue.take_exhausted() == [(1, 2)]
    assert (queue.take_exhausted(), queue.ready, len(queue)) == ([], 0, 1)
    queue.revive(1, now_s=10.0)
    (third,) = _take(queue, now_s=10.0)
    assert third.attempt == 3


# Ordering


def test_nothing_more_of_a_key_is_given_away_while_some_is_out() -> None:
    queue = _ordered("a", "a", "b")
    first = queue.take(Consumer(), now_s=0, lease_s=10, max_messages=1, max_bytes=10)
    assert _ids(first) == [1]
    assert _ids(_take(queue)) == [3]  # another key is not held up
    _acknowledge(queue, first[0])
    assert _ids(_take(queue)) == [2]


def test_messages_of_a_key_that_are_taken_together_are_in_order() -> None:
    queue = _ordered("a", "b", "a", "", "a")
    taken = _ids(_take(queue))
    assert [i for i in taken if i in (1, 3, 5)] == [1, 3, 5]
    assert sorted(taken) == [1, 2, 3, 4, 5]
    queue.add(6, 1, key="a")
    assert queue.ready == 0


def test_redelivery_brings_back_what_comes_later_acknowledged_or_not() -> None:
    queue, consumer = _ordered("a", "a", "a", "a"), Consumer()
    first, second, third, fourth = _take(queue, consumer)
    assert _acknowledge(queue, first) == (1,)
    assert _acknowledge(queue, third) == ()  # it waits for the second
    _nack(queue, second)
    assert consumer.messages == 0
    assert [(x.message_id, x.attempt) for x in _take(queue)] == [(2, 2), (3, 1), (4, 1)]
    assert not queue.extend(4, fourth.serial, now_s=0, lease_s=60)


def test_ack_that_overtook_is_settled_with_the_one_it_waited_for() -> None:
    queue = _ordered("a", "a", "a")
    first, second, third = _take(queue)
    assert _acknowledge(queue, third) == ()
    assert _acknowledge(queue, second) == ()
    assert _acknowledge(queue, first) == (1, 2, 3)
    assert len(queue) == 0


def test_discarding_the_head_settles_what_waited_for_it() -> None:
    queue = _ordered("a", "a", "a")
    _, second, _ = _take(queue)
    _acknowledge(queue, second)
    assert queue.discard(1) == (1, 2)
    assert queue.message_ids() == [3]


def test_key_rests_as_a_whole_and_its_order_survives_the_rest() -> None:
    queue = _ordered("a", "a", delays=RetryDelays(min_s=5, max_s=5))
    first, _ = _take(queue)
    _nack(queue, first)
    assert (queue.ready, queue.next_expiry_s()) == (0, 5.0)
    queue.expire(now_s=5.0)
    assert _ids(_take(queue, now_s=5.0)) == [1, 2]


def test_exhausted_message_holds_its_key_up_until_it_is_gone() -> None:
    queue = _ordered("a", "a", max_attempts=1)
    first, _ = _take(queue)
    _nack(queue, first)
    assert (queue.take_exhausted(), queue.ready) == ([(1, 1)], 0)
    queue.discard(1)
    assert _ids(_take(queue)) == [2]


def test_restart_gives_everything_back_in_order_and_voids_what_was_given() -> None:
    queue, consumer = _queue(1, 1, 1), Consumer()
    first, second, third = _take(queue, consumer)
    _nack(queue, first)
    queue.restart()
    assert consumer.messages == 0
    assert _acknowledge(queue, second) == ()
    assert not queue.extend(3, third.serial, now_s=0, lease_s=60)
    assert [(x.message_id, x.attempt) for x in _take(queue)] == [(1, 1), (2, 1), (3, 1)]


class Life(RuleBasedStateMachine):
    """Any sequence of what can happen, against a model that only counts."""

    leases: Bundle[Lease] = Bundle("leases")
    ordered = False
    exactly_once = False

    def __init__(self) -> None:
        super().__init__()
        self.queue = DeliveryQueue(
            DeliveryRules(
                delays=RetryDelays(min_s=3.0, max_s=7.0),
                ordered=self.ordered,
                exactly_once=self.exactly_once,
                max_attempts=4,
            ),
            serials=itertools.count(100),
        )
        self.consumers = [Consumer(max_messages=2), Consumer(max_bytes=20)]
        self.now_s = 0.0
        self.added = 0
        self.alive: set[int] = set()
        self.first_serial = 0

    @rule(
        size=st.integers(1, 15), key=st.sampled_from(["", "a", "b"]), delay_s=st.sampled_from([0.0, 0.0, 4.0])
    )
    def publish(self, size: int, key: str, delay_s: float) -> None:
        self.added += 1
        self.alive.add(self.added)
        self.queue.add(self.added, size, key=key, delay_s=delay_s, now_s=self.now_s)

    @rule(
        target=leases,
        who=st.sampled_from([0, 1]),
        lease_s=st.sampled_from([10.0, 60.0]),
        most=st.sampled_from([1, 3]),
    )
    def take(self, who: int, lease_s: float, most: int) -> Lease:
        taken = self.queue.take(
            self.consumers[who], now_s=self.now_s, lease_s=lease_s, max_messages=most, max_bytes=1000
        )
        return taken[-1] if taken else Lease(0, 0, 0, 0, 0.0, self.consumers[who])

    @rule(lease=consumes(leases))
    def acknowledge(self, lease: Lease) -> None:
        current = self.queue._entries.get(lease.message_id)
        is_current = current is not None and current.lease is lease
        outcome = self.queue.acknowledge(lease.message_id, lease.serial, now_s=self.now_s)
        assert set(outcome.settled) <= self.alive
        self.alive -= set(outcome.settled)
        if self.exactly_once:
            assert (lease.message_id in outcome.settled) == is_current
        elif not self.ordered and lease.serial >= self.first_serial:
            assert lease.message_id not in self.alive

    @rule(lease=leases, lease_s=st.sampled_from([0.0, 5.0, 30.0]))
    def extend(self, lease: Lease, lease_s: float) -> None:
        self.queue.extend(lease.message_id, lease.serial, now_s=self.now_s, lease_s=lease_s)

    @rule(passed_s=st.floats(0.1, 40.0))
    def let_time_pass(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.queue.expire(now_s=self.now_s)

    @rule(forward=st.booleans())
    def look_for_the_exhausted(self, forward: bool) -> None:
        for message_id, _ in self.queue.take_exhausted():
            if forward:
                self.alive -= set(self.queue.discard(message_id))
            else:
                self.queue.revive(message_id, now_s=self.now_s)

    @rule()
    def restart(self) -> None:
        self.queue.restart()
        self.first_serial = self.queue._first_serial

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        ids = self.queue.message_ids()
        assert sorted(ids) == sorted(self.alive)
        assert len(self.queue) == len(ids)

    @invariant()
    def room_is_what_the_leases_leave(self) -> None:
        held = [entry.lease for entry in self.queue._entries.values() if entry.lease is not None]
        for consumer in self.consumers:
            mine = [lease for lease in held if lease.consumer is consumer]
            assert (consumer.messages, consumer.bytes) == (len(mine), sum(x.size_bytes for x in mine))

    @invariant()
    def ready_is_what_nothing_holds_back(self) -> None:
        ready = 0
        for entry in self.queue._entries.values():
            line = [entry] if entry.line is None else entry.line.entries.values()
            ready += all(x.lease is None and x.rests_until_s is None and not x.exhausted for x in line)
        assert self.queue.ready == ready

    @invariant()
    def timer_is_ahead(self) -> None:
        next_s = self.queue.next_expiry_s()
        assert (next_s is None) == (not self.queue._out)
        assert next_s is None or next_s > self.now_s

    def teardown(self) -> None:
        for step_s in (1e6, 2e6, 3e6, 4e6, 5e6):  # leases end, and rest, and are exhausted
            self.queue.expire(now_s=self.now_s + step_s)
            for message_id, _ in self.queue.take_exhausted():
                self.queue.revive(message_id, now_s=self.now_s + step_s)
        assert self.queue.ready == len(self.alive)


class OrderedLife(Life):
    ordered = True


class ExactlyOnceLife(Life):
    exactly_once = True


class OrderedExactlyOnceLife(Life):
    ordered = exactly_once = True


TestLife = Life.TestCase
TestOrderedLife = OrderedLife.TestCase
TestExactlyOnceLife = ExactlyOnceLife.TestCase
TestOrderedExactlyOnceLife = OrderedExactlyOnceLife.TestCase
