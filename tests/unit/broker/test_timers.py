"""Alarms: who is called when, and that nobody is called twice."""

from __future__ import annotations

from longcall.broker.core.timers import Timers


def _run(timers: Timers, now_s: float) -> None:
    for action in timers.due_calls(now_s):
        action()


def test_calls_come_in_the_order_of_their_times_and_once() -> None:
    timers, called = Timers(), []
    for at_s in (3.0, 1.0, 2.0, 2.0):
        timers.call_at(at_s, lambda at_s=at_s: called.append(at_s))
    assert timers.next_s() == 1.0
    _run(timers, 0.9)
    assert called == []
    _run(timers, 2.0)
    _run(timers, 2.0)
    assert called == [1.0, 2.0, 2.0]
    assert timers.next_s() == 3.0
    _run(timers, 9.0)
    assert timers.next_s() is None


def test_earlier_call_sounds_the_alarm() -> None:
    timers, alarms = Timers(), []
    timers.on_alarm = lambda: alarms.append(timers.next_s())
    for at_s in (3.0, 4.0, 1.0):
        timers.call_at(at_s, lambda: None)
    assert alarms == [3.0, 1.0]


def test_cleared_timers_call_nobody() -> None:
    timers, called = Timers(), []
    timers.call_at(1.0, lambda: called.append(1))
    timers.clear()
    _run(timers, 2.0)
    assert (called, timers.next_s()) == ([], None)


def test_action_may_ask_for_the_next_call() -> None:
    timers, called = Timers(), []

    def again() -> None:
        called.append(1)
        timers.call_at(5.0, again)

    timers.call_at(1.0, again)
    _run(timers, 2.0)
    assert (len(called), timers.next_s()) == (1, 5.0)
