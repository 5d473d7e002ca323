"""What arrived for nobody, as a pure rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.client._routing import RoutingTable
from longcall.client._unclaimed import HoldRules, UnclaimedReports
from longcall.contract import Message, Report, Succeeded
from longcall.transport import Delivery

RULES = HoldRules(hold_min_s=0.01, hold_max_s=5.0, put_off_min_s=10.0, put_off_max_s=60.0, max_held=3)


def report(correlation_id: str = "r.1") -> Report:
    return Report(correlation_id=correlation_id, body=Succeeded(), id="1", source="/s")


def delivery(message_id: str, ack_id: str = "a") -> Delivery:
    return Delivery(message=Message(message_id=message_id), ack_id=ack_id)


def test_holds_double_and_then_pauses_do() -> None:
    unclaimed = UnclaimedReports(RULES, dice=lambda: 1.0)
    now_s, holds, pauses = 0.0, [], []
    for _ in range(14):
        unclaimed.hold(report(), delivery("m"), now_s=now_s)
        due_s = unclaimed.next_due_s()
        assert due_s is not None
        (given_up,) = unclaimed.expire(now_s=due_s)
        holds.append(round(due_s - now_s, 2))
        pauses.append(given_up.put_off_s)
        now_s = due_s

    assert holds == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, *[5.0] * 5]
    assert pauses == [0.0] * 9 + [10.0, 20.0, 40.0, 60.0, 60.0]


def test_no_room_is_made_by_putting_off() -> None:
    unclaimed = UnclaimedReports(RULES)
    given_up = [unclaimed.hold(report(), delivery(str(n), str(n)), now_s=0.0) for n in range(4)]

    assert given_up[:3] == [None] * 3
    assert given_up[3] is not None
    assert given_up[3].ack_id == "3"
    assert given_up[3].put_off_s == RULES.put_off_max_s
    assert len(unclaimed) == 3


def test_message_that_comes_again_is_held_under_its_latest_lease() -> None:
    unclaimed = UnclaimedReports(RULES)
    unclaimed.hold(report(), delivery("m", "old"), now_s=0.0)
    unclaimed.hold(report(), delivery("m", "new"), now_s=0.0)

    assert unclaimed.ack_ids() == ["new"]
    held, put_off = unclaimed.claim("r.1")
    assert [each.delivery.ack_id for each in held] == ["new"]
    assert put_off == []
    assert unclaimed.next_due_s() is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["hold", "claim", "expire"]), st.integers(0, 5), st.floats(0.0, 20.0)),
        max_size=60,
    )
)
def test_every_lease_is_held_or_given_up_and_memory_is_bounded(steps: list[tuple[str, int, float]]) -> None:
    unclaimed = UnclaimedReports(RULES)
    now_s, open_ids = 0.0, set[str]()
    for number, (step, who, pause_s) in enumerate(steps):
        now_s += pause_s
        if step == "hold":
            message_id, ack_id = f"m{who}", f"a{number}"
            replaced = {each for each in open_ids if each.startswith(f"{message_id}:")}
            given_up = unclaimed.hold(
                report(f"r.{who % 3}"), delivery(message_id, f"{message_id}:{ack_id}"), now_s=now_s
            )
            if given_up is None:
                open_ids = (open_ids - replaced) | {f"{message_id}:{ack_id}"}
        elif step == "claim":
            open_ids -= {each.delivery.ack_id for each in unclaimed.claim(f"r.{who % 3}")[0]}
        else:
            open_ids -= {each.ack_id for each in unclaimed.expire(now_s=now_s)}
        assert set(unclaimed.ack_ids()) == open_ids
        assert len(unclaimed) == len(open_ids) <= RULES.max_held


def test_waiter_that_leaves_twice_is_an_error_of_the_caller() -> None:
    class Nobody:
        def hand(self, handed: object) -> None: ...
        def end(self, error: object) -> None: ...

    table, waiter = RoutingTable(RULES), Nobody()
    table.add("r.1", waiter)
    table.remove("r.1", waiter)
    with pytest.raises(KeyError):
        table.remove("r.1", waiter)
