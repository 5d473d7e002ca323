"""What arrived for nobody: for how long it is held, and for how long then left to others.

A shared inbox serves several processes, and a message reaches any of them. So one
that nobody here waits for is held for a moment, in case its waiter is about to
register, and given back for another process to have. Each time it returns it is
held for twice as long, up to `hold_max_s`; from then on it is also put off, so
that a message whose caller is gone for good costs next to nothing. Every time is
shortened at random by up to half: processes and messages that move in step would
miss each other for ever. One that is still there a day later, and has been held
here as patiently as can be, is overdue: nobody will come for it.

Pure but for the dice, which can be brought: no I/O, no clock of its own. `now_s` is
seconds on one monotonic clock.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from longcall.contract import Message, Report
from longcall.transport.port import Delivery

__all__ = ["OVERDUE_PAUSE_S", "GivenUp", "HoldRules", "Unclaimed", "UnclaimedReports"]

OVERDUE_PAUSE_S: Final = 600.0
"""How long to leave alone what is overdue: Pub/Sub's longest lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRules:
    """For how long a report that nobody waits for is held and put off.

    Attributes:
        hold_min_s: the first time.
        hold_max_s: the longest; until then it is given back at once afterwards.
        put_off_min_s: the first pause after a longest hold; doubles.
        put_off_max_s: the longest pause, at most 600 s (Pub/Sub's longest lease).
        max_held: more reports than that are not held but put off.
        overdue_s: after so long since its publish nobody will come for it.
    """

    hold_min_s: float
    hold_max_s: float
    put_off_min_s: float
    put_off_max_s: float
    max_held: int
    overdue_s: float = 24 * 3600.0

    def hold_s(self, rounds: int) -> float:
        """Return for how long to hold what was given up `rounds` times."""
        return min(self.hold_min_s * 2.0 ** min(rounds, 60), self.hold_max_s)

    def put_off_s(self, rounds: int) -> float:
        """Return for how long to put off what was held `rounds` times and is given up; 0: not at all."""
        extra = rounds - self.patient_rounds
        return 0.0 if extra < 0 else min(self.put_off_min_s * 2.0 ** min(extra, 60), self.put_off_max_s)

    @property
    def patient_rounds(self) -> int:
        """How many holds are followed by giving back at once."""
        rounds = 0
        while self.hold_s(rounds) < self.hold_max_s:
            rounds += 1
        return rounds


@dataclass(slots=True, eq=False)
class Unclaimed:
    """A report that nobody here waits for, held until `until_s`; from `overdue_s` on nobody will."""

    report: Report
    delivery: Delivery
    until_s: float
    overdue_s: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A report that is not held any longer.

    Attributes:
        report: what it says.
        message: as it was on the wire.
        ack_id: the lease.
        put_off_s: for how long to leave it alone; 0: give it back at once.
        is_first_put_off: nobody has claimed it in the time that it may take to register.
        is_overdue: nobody will.
    """

    report: Report
    message: Message
    ack_id: str
    put_off_s: float
    is_first_put_off: bool = False
    is_overdue: bool = False


@dataclass(slots=True)
class UnclaimedReports:
    """The reports of one inbox that nobody here waits for: at most `rules.max_held` held, as many put off.

    Each is found by its correlation id and by its time at no cost that grows with their number.
    """

    rules: HoldRules
    dice: Callable[[], float] = random.random
    _held: dict[str, dict[str, Unclaimed]] = field(default_factory=dict)
    _by_time: list[tuple[float, str, str]] = field(default_factory=list)
    _put_off: OrderedDict[str, tuple[str, str]] = field(default_factory=OrderedDict)
    _put_off_of: dict[str, set[str]] = field(default_factory=dict)
    _rounds: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _count: int = 0

    def __len__(self) -> int:
        """Return how many are held."""
        return self._count

    def hold(self, report: Report, delivery: Delivery, *, now_s: float, age_s: float = 0.0) -> GivenUp | None:
        """Hold a delivery; when there is no room, return how it is given up instead.

        A message that is delivered again replaces what was held of it. `age_s`: since its publish.
        """
        message_id, correlation_id = delivery.message.message_id, report.correlation_id
        self._forget_put_off(message_id)
        held = self._held.get(correlation_id, {})
        if message_id in held:
            held[message_id].delivery = delivery
            return None
        if self._count >= self.rules.max_held:
            self._count_round(message_id)
            return GivenUp(report, delivery.message, delivery.ack_id, self.rules.put_off_max_s)
        overdue_s = now_s + max(0.0, self.rules.overdue_s - age_s)
        until_s = now_s + self._shortened(self.rules.hold_s(self._rounds.get(message_id, 0)))
        self._held.setdefault(correlation_id, {})[message_id] = Unclaimed(
            report, delivery, until_s, overdue_s
        )
        heappush(self._by_time, (until_s, correlation_id, message_id))
        self._count += 1
        return None

    def claim(self, correlation_id: str) -> tuple[list[Unclaimed], list[str]]:
        """Take out what is held for an id; return it, and the ack ids of what was put off: release them."""
        held = self._held.pop(correlation_id, {})
        self._count -= len(held)
        ack_ids = []
        for message_id in list(self._put_off_of.get(correlation_id, ())):
            ack_ids.append(self._put_off[message_id][1])
            self._forget_put_off(message_id)
            self._rounds.pop(message_id, None)
        return list(held.values()), ack_ids

    def expire(self, *, now_s: float) -> list[GivenUp]:
        """Take out, and return, what nobody has claimed in its time."""
        given_up = []
        while (due_s := self.next_due_s()) is not None and due_s <= now_s:
            _until_s, correlation_id, message_id = heappop(self._by_time)
            given_up.append(self._give_up(correlation_id, message_id, now_s=now_s))
        return given_up

    def ack_ids(self) -> list[str]:
        """Return the leases of what is held."""
        return [each.delivery.ack_id for held in self._held.values() for each in held.values()]

    def next_due_s(self) -> float | None:
        """Return when `expire` has something to do; None: never, as it stands."""
        while self._by_time:
            until_s, correlation_id, message_id = self._by_time[0]
            held = self._held.get(correlation_id, {}).get(message_id)
            if held is not None and held.until_s == until_s:
                return until_s
            heappop(self._by_time)  # claimed meanwhile
        return None

    def _give_up(self, correlation_id: str, message_id: str, *, now_s: float) -> GivenUp:
        held = self._held[correlation_id]
        unclaimed = held.pop(message_id)
        if not held:
            del self._held[correlation_id]
        self._count -= 1
        rounds = self._count_round(message_id)
        pause_s = self.rules.put_off_s(rounds)
        is_overdue = pause_s >= self.rules.put_off_max_s and now_s >= unclaimed.overdue_s
        # Leases are whole seconds.
        put_off_s = float(round(self._shortened(OVERDUE_PAUSE_S if is_overdue else pause_s)))
        ack_id = unclaimed.delivery.ack_id
        if put_off_s:
            self._remember_put_off(correlation_id, message_id, ack_id)
        is_first = rounds == self.rules.patient_rounds
        return GivenUp(
            unclaimed.report,
            unclaimed.delivery.message,
            ack_id,
            put_off_s,
            is_first_put_off=is_first,
            is_overdue=is_overdue,
        )

    def _shortened(self, seconds: float) -> float:
        return seconds * (0.5 + 0.5 * self.dice())

    def _count_round(self, message_id: str) -> int:
        """Return how often the message was held before this time."""
        rounds = self._rounds.pop(message_id, 0)
        self._rounds[message_id] = rounds + 1
        if len(self._rounds) > self.rules.max_held:
            self._rounds.popitem(last=False)
        return rounds

    def _remember_put_off(self, correlation_id: str, message_id: str, ack_id: str) -> None:
        self._put_off[message_id] = (correlation_id, ack_id)
        self._put_off_of.setdefault(correlation_id, set()).add(message_id)
        if len(self._put_off) > self.rules.max_held:
            self._forget_put_off(next(iter(self._put_off)))

    def _forget_put_off(self, message_id: str) -> None:
        correlation_id, _ack_id = self._put_off.pop(message_id, ("", ""))
        message_ids = self._put_off_of.get(correlation_id)
        if message_ids is not None:
            message_ids.discard(message_id)
            if not message_ids:
                del self._put_off_of[correlation_id]
