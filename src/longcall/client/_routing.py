"""Which waiter a delivery belongs to, and what is then due. Pure: no I/O, no clock of its own.

A delivery is either *handed* (to the waiters of its id; a completion stays leased
until one of them acknowledges it) or *unclaimed* (see `_unclaimed`). Every method
that needs the time takes `now_s`, seconds on one monotonic clock, and those that
make something due at the message system return it.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from longcall._core.errors import LongcallError
from longcall.client._unclaimed import GivenUp, HoldRules, UnclaimedReports
from longcall.contract import Message, Report, is_completion
from longcall.contract.signing import SIGNATURE_ATTRIBUTE, content_digest
from longcall.transport.port import Delivery

__all__ = ["Due", "Handed", "RoutingTable", "Waiter"]

_MAX_SEEN: Final = 10_000
"""Reports whose repeat is recognised: of each call, and of the calls that have ended."""


class Waiter(Protocol):
    """Somebody who waits for the reports of one correlation id."""

    def hand(self, handed: Handed) -> None:
        """Take a report; called once for each, however often it is delivered or was published."""
        ...

    def end(self, error: LongcallError) -> None:
        """Take the news that nothing more will come, and why."""
        ...


@dataclass(slots=True, eq=False)
class Handed:
    """A report that its waiters have.

    Attributes:
        report: what it says.
        message: as it first arrived.
        ack_ids: the latest lease of each message that carries it, by message id.
    """

    report: Report
    message: Message
    ack_ids: dict[str, str]


@dataclass(slots=True)
class Due:
    """What is to be told to the message system.

    Attributes:
        acknowledge: ack ids of what need not come again.
        release: ack ids of what may come again at once.
        put_off: ack ids of what may come again after so many seconds.
        abandoned: completions that nobody has claimed, for the log.
        set_aside: completions that nobody will claim.
    """

    acknowledge: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    put_off: dict[float, list[str]] = field(default_factory=dict)
    abandoned: list[Report] = field(default_factory=list)
    set_aside: list[GivenUp] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.acknowledge or self.release or self.put_off or self.set_aside)

    def add(self, other: Due) -> None:
        """Take on what another holds."""
        self.acknowledge += other.acknowledge
        self.release += other.release
        self.abandoned += other.abandoned
        self.set_aside += other.set_aside
        for delay_s, ack_ids in other.put_off.items():
            self.put_off.setdefault(delay_s, []).extend(ack_ids)


@dataclass(slots=True)
class _Call:
    waiters: list[Waiter] = field(default_factory=list)
    handed: dict[str, Handed] = field(default_factory=dict)
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)


class RoutingTable:
    """Waiters, and what is held for them, of one inbox."""

    def __init__(self, rules: HoldRules, *, dice: Callable[[], float] = random.random) -> None:
        self._calls: dict[str, _Call] = {}
        self._unclaimed = UnclaimedReports(rules, dice)
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._handed_count = 0

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits."""
        return bool(self._calls)

    @property
    def waiters(self) -> list[Waiter]:
        """Everybody who waits."""
        return [waiter for call in self._calls.values() for waiter in call.waiters]

    @property
    def has_leases(self) -> bool:
        """Whether anything is held."""
        return bool(self._handed_count or len(self._unclaimed))

    def add(self, correlation_id: str, waiter: Waiter) -> Due:
        """Register a waiter, and hand it what is held for its id."""
        call = self._calls.setdefault(correlation_id, _Call())
        call.waiters.append(waiter)
        for handed in call.handed.values():
            waiter.hand(handed)
        claimed, put_off = self._unclaimed.claim(correlation_id)
        due = Due(release=put_off)
        for unclaimed in claimed:
            due.add(self._hand(call, unclaimed.report, unclaimed.delivery))
        return due

    def remove(self, correlation_id: str, waiter: Waiter) -> Due:
        """Forget a waiter; with the last one, give back what none of them acknowledged."""
        call = self._calls[correlation_id]
        call.waiters.remove(waiter)
        if call.waiters:
            return Due()
        del self._calls[correlation_id]
        self._handed_count -= len(call.handed)
        return Due(release=[ack_id for handed in call.handed.values() for ack_id in handed.ack_ids.values()])

    def route(self, report: Report, delivery: Delivery, *, now_s: float, age_s: float = 0.0) -> Due:
        """Hand a delivery to its waiters, or hold it for a while. `age_s`: since its publish.

        What is no completion is due for acknowledgement as soon as it is handed: it causes nothing
        that could be lost.
        """
        call = self._calls.get(report.correlation_id)
        if call is not None:
            return self._hand(call, report, delivery)
        if _identity(report, delivery.message) in self._ended:
            return Due(acknowledge=[delivery.ack_id])  # its acknowledgement was lost, or it came twice
        given_up = self._unclaimed.hold(report, delivery, now_s=now_s, age_s=age_s)
        return _leave([given_up] if given_up is not None else [])

    def acknowledge(self, handed: Handed) -> Due:
        """Take out a report whose effect is durable; a repeat does nothing."""
        call = self._calls.get(handed.report.correlation_id)
        identity = _identity(handed.report, handed.message)
        if call is None or call.handed.pop(identity, None) is None:
            return Due()
        self._handed_count -= 1
        _remember(self._ended, identity)
        return Due(acknowledge=list(handed.ack_ids.values()))

    def expire(self, *, now_s: float) -> Due:
        """Give up what nobody has claimed in its time."""
        return _leave(self._unclaimed.expire(now_s=now_s))

    def leased(self) -> list[str]:
        """Return the ack ids of everything that is held, handed or unclaimed."""
        handed = [h for call in self._calls.values() for h in call.handed.values()]
        return [ack_id for h in handed for ack_id in h.ack_ids.values()] + self._unclaimed.ack_ids()

    def next_due_s(self) -> float | None:
        """Return when `expire` has something to do; None: never, as it stands."""
        return self._unclaimed.next_due_s()

    def _hand(self, call: _Call, report: Report, delivery: Delivery) -> Due:
        message = delivery.message
        identity = _identity(report, message)
        held = call.handed.get(identity)
        if held is not None:
            held.ack_ids[message.message_id] = delivery.ack_id
            return Due()
        if identity in call.seen:
            return Due(acknowledge=[delivery.ack_id])
        _remember(call.seen, identity)
        handed = Handed(report, message, {message.message_id: delivery.ack_id})
        if is_completion(report.body):
            call.handed[identity] = handed
            self._handed_count += 1
        for waiter in list(call.waiters):
            waiter.hand(handed)
        return Due() if is_completion(report.body) else Due(acknowledge=[delivery.ack_id])


def _leave(given_up: list[GivenUp]) -> Due:
    """Leave a completion to others for as long as it takes; the rest is dropped when all had their chance."""
    due = Due()
    for each in given_up:
        if not each.put_off_s:
            due.release.append(each.ack_id)
        elif not is_completion(each.report.body):
            due.acknowledge.append(each.ack_id)
        elif each.is_overdue:
            due.set_aside.append(each)
        else:
            due.put_off.setdefault(each.put_off_s, []).append(each.ack_id)
            if each.is_first_put_off:
                due.abandoned.append(each.report)
    return due


def _remember(memory: OrderedDict[str, None], identity: str) -> None:
    memory[identity] = None
    if len(memory) > _MAX_SEEN:
        memory.popitem(last=False)


def _identity(report: Report, message: Message) -> str:
    """Return what a report that was published twice, or delivered twice, has in common."""
    name = f"{report.source}\n{report.id}" if report.id else message.message_id
    signature = message.attributes.get(SIGNATURE_ATTRIBUTE, "")
    if signature:
        # A forged one must not stand in for the genuine one, whose name and signature it may have copied.
        signature += f"\n{content_digest(message)}"
    return f"{report.correlation_id}\n{name}\n{signature}"
