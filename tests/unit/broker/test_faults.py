"""Which rule strikes where, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.faults import Fault, Faults, is_named

INBOX = "projects/p/subscriptions/inbox"
WORK = "projects/p/topics/work"


def _struck(faults: Faults, occasions: int, *places: str) -> list[bool]:
    return [faults.striking(["drop"], *places) is not None for _ in range(occasions)]


def _with(*rules: Fault) -> Faults:
    faults = Faults()
    for rule in rules:
        faults.add(rule)
    return faults


def test_rule_strikes_as_often_as_it_says() -> None:
    assert _struck(_with(Fault(kind="drop", times=2)), 4, INBOX) == [True, True, False, False]


def test_rule_without_a_number_strikes_until_it_is_cleared() -> None:
    faults = _with(Fault(kind="drop"))
    assert faults
    assert _struck(faults, 3, INBOX) == [True] * 3
    faults.clear()
    assert not faults
    assert _struck(faults, 1, INBOX) == [False]


def test_share_is_of_the_occasions_and_the_same_for_the_same_seed() -> None:
    first, again, other = (
        _struck(_with(Fault(kind="drop", share=0.25, seed=seed)), 1000, INBOX) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert 200 < sum(first) < 300


def test_share_counts_only_what_it_strikes() -> None:
    assert sum(_struck(_with(Fault(kind="drop", share=0.5, times=3)), 100, INBOX)) == 3


@pytest.mark.parametrize("where", ["", INBOX, "inbox", WORK, "work"])
def test_rule_is_for_a_subscription_or_topic_by_either_name(where: str) -> None:
    assert _struck(_with(Fault(kind="drop", where=where)), 1, INBOX, WORK) == [True]


@pytest.mark.parametrize("where", ["box", "nbox", "projects/q/subscriptions/inbox", "subscriptions/inbox"])
def test_rule_for_another_place_does_not_strike_nor_count(where: str) -> None:
    rule = Fault(kind="drop", where=where, times=1)
    assert _struck(_with(rule), 1, INBOX, WORK) == [False]
    assert rule.times == 1


def test_earlier_rule_goes_first_and_leaves_the_rest_to_the_later() -> None:
    first, second = Fault(kind="delay", delay_s=1, times=1), Fault(kind="delay", delay_s=2)
    faults = _with(Fault(kind="drop"), first, second)
    assert [faults.striking(["delay"], INBOX) for _ in range(2)] == [first, second]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"kind": "explode"}, "kind"),
        ({"kind": "drop", "share": 0}, "share"),
        ({"kind": "drop", "share": 1.5}, "share"),
        ({"kind": "delay"}, "delay_s"),
        ({"kind": "slow", "delay_s": -1}, "delay_s"),
        ({"kind": "refuse", "code": "SAD"}, "code"),
        ({"kind": "drop", "how": "quietly"}, "how"),
        ({"kind": "drop", "share": "most"}, "not a fault"),
        ({}, "kind"),
    ],
)
def test_rule_that_makes_no_sense_is_refused_by_the_name_of_its_field(
    fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgument, match=named):
        Fault.of(fields)


def test_numbers_of_a_struct_are_whole_again() -> None:
    assert Fault.of({"kind": "drop", "times": 2.0, "seed": 7.0}).times == 2


def test_name_is_the_full_one_or_its_last_part() -> None:
    assert is_named(INBOX, INBOX)
    assert is_named(INBOX, "inbox")
    assert not is_named(INBOX, "")
