"""The window grows with success and halves with failure; pauses double while nothing succeeds."""

from __future__ import annotations

from longcall.broker.push.flow import MAX_WINDOW, PushFlow


def _fail(flow: PushFlow) -> float | None:
    return flow.fail(flow.round)


def test_window_doubles_with_each_round_of_successes_up_to_its_bound() -> None:
    flow = PushFlow()
    first = flow.window
    assert 1 < first < 10
    for _ in range(first):
        flow.succeed(flow.round)
    assert flow.window == 2 * first
    for _ in range(MAX_WINDOW):
        flow.succeed(flow.round)
    assert flow.window == MAX_WINDOW


def test_window_halves_with_each_failure_down_to_one() -> None:
    flow = PushFlow(window=8)
    windows = []
    for _ in range(5):
        _fail(flow)
        windows.append(flow.window)
    assert windows == [4, 2, 1, 1, 1]


def test_pauses_double_from_a_tenth_of_a_second_to_a_minute() -> None:
    flow = PushFlow()
    pauses = [_fail(flow) for _ in range(12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[9:] == [51.2, 60.0, 60.0]
    for _ in range(2000):
        _fail(flow)
    assert _fail(flow) == 60.0


def test_window_full_of_failures_is_one_failure() -> None:
    flow = PushFlow(window=8)
    sent_in = flow.round
    assert flow.fail(sent_in) == 0.1
    assert [flow.fail(sent_in) for _ in range(7)] == [None] * 7
    assert (flow.window, flow.failures) == (4, 1)
    assert _fail(flow) == 0.2


def test_success_makes_the_next_pause_short_again() -> None:
    flow = PushFlow()
    _fail(flow)
    _fail(flow)
    flow.succeed(flow.round)
    assert _fail(flow) == 0.1


def test_success_of_what_was_sent_before_a_failure_proves_nothing() -> None:
    flow = PushFlow(window=8)
    sent_in = flow.round
    _fail(flow)
    flow.succeed(sent_in)
    assert (flow.window, flow.failures) == (4, 1)
