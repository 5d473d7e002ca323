"""Which waiter a delivery belongs to, and what is held for whom. Pure: no I/O, no clock of its own.

A delivery is either *handed* (to the waiters of its id, and leased until one of
them acknowledges it) or *unclaimed* (leased for a while, in case its waiter is
about to register). Every method takes `now_s`, seconds on one monotonic clock.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol

from longcall.contract import Message, Report, is_completion
from longcall.transport.port import Delivery

__all__ = ["Handed", "RoutingTable", "Unclaimed", "Waiter"]


class Waiter(Protocol):
    """Somebody who waits for the reports of one correlation id."""

    def hand(self, handed: Handed) -> None:
        """Take a report; called once for each, however often it is delivered."""
        ...


@dataclass(slots=True, eq=False)
class Handed:
    """A report that its waiters have; `ack_id` is the latest under which it was delivered."""

    report: Report
    message: Message
    ack_id: str


@dataclass(slots=True, eq=False)
class Unclaimed:
    """A report that nobody here waits for, kept until `until_s`."""

    report: Report
    message: Message
    ack_id: str
    until_s: float


@dataclass(slots=True)
class RoutingTable:
    """Waiters, and what is held for them, of one inbox."""

    _waiters: dict[str, list[Waiter]] = field(default_factory=lambda: defaultdict(list))
    _handed: dict[str, dict[str, Handed]] = field(default_factory=lambda: defaultdict(dict))
    _unclaimed: dict[str, list[Unclaimed]] = field(default_factory=lambda: defaultdict(list))

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    @property
    def waiters(self) -> list[Waiter]:
        """Everybody who waits."""
        return [waiter for waiters in self._waiters.values() for waiter in waiters]

    @property
    def unclaimed_count(self) -> int:
        """How many reports are held for nobody yet."""
        return sum(map(len, self._unclaimed.values()))

    def add(self, correlation_id: str, waiter: Waiter) -> list[str]:
        """Register a waiter and hand it what is held for its id.

        Returns:
            the ack ids that this has made due: see `route`.
        """
        self._waiters[correlation_id].append(waiter)
        for handed in self._handed.get(correlation_id, {}).values():
            waiter.hand(handed)
        claimed = self._unclaimed.pop(correlation_id, [])
        due = [self._hand(unclaimed.report, unclaimed.message, unclaimed.ack_id) for unclaimed in claimed]
        return [ack_id for ack_id in due if ack_id is not None]

    def remove(self, correlation_id: str, waiter: Waiter) -> list[str]:
        """Forget a waiter.

        Returns:
            the ack ids of what nobody holds any more: release them.
        """
        waiters = self._waiters[correlation_id]
        waiters.remove(waiter)
        if waiters:
            return []
        del self._waiters[correlation_id]
        return [handed.ack_id for handed in self._handed.pop(correlation_id, {}).values()]

    def route(self, report: Report, delivery: Delivery, *, now_s: float, hold_s: float) -> str | None:
        """Hand a delivery to its waiters, or hold it for `hold_s`.

        Returns:
            the ack id if it is due for acknowledgement at once: a progress report and its like cause
            nothing that could be lost.
        """
        if report.correlation_id in self._waiters:
            return self._hand(report, delivery.message, delivery.ack_id)
        self._unclaimed[report.correlation_id].append(
            Unclaimed(report, delivery.message, delivery.ack_id, now_s + hold_s)
        )
        return None

    def acknowledged(self, handed: Handed) -> str | None:
        """Take a report out; return its ack id, None if it was taken out before."""
        held = self._handed.get(handed.report.correlation_id, {})
        found = held.pop(_identity(handed.report, handed.message), None)
        return found.ack_id if found is not None else None

    def expire(self, *, now_s: float) -> list[Unclaimed]:
        """Take out, and return, what nobody has claimed in its time."""
        expired = [u for held in self._unclaimed.values() for u in held if u.until_s <= now_s]
        for unclaimed in expired:
            held = self._unclaimed[unclaimed.report.correlation_id]
            held.remove(unclaimed)
            if not held:
                del self._unclaimed[unclaimed.report.correlation_id]
        return expired

    def leased(self) -> list[str]:
        """Return the ack ids of everything that is held, handed or unclaimed."""
        handed = [h.ack_id for held in self._handed.values() for h in held.values()]
        return handed + [u.ack_id for held in self._unclaimed.values() for u in held]

    def _hand(self, report: Report, message: Message, ack_id: str) -> str | None:
        held = self._handed[report.correlation_id]
        identity = _identity(report, message)
        if identity in held:
            held[identity].ack_id = ack_id  # delivered again: only the latest lease counts
            return None
        handed = Handed(report, message, ack_id)
        for waiter in self._waiters[report.correlation_id]:
            waiter.hand(handed)
        if not is_completion(report.body):
            return ack_id
        held[identity] = handed
        return None


def _identity(report: Report, message: Message) -> str:
    """Return what a report that was published twice, or delivered twice, has in common."""
    return f"{report.source}\n{report.id}" if report.id else message.message_id
