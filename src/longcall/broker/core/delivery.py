"""The messages of one subscription between publish and ack: ready, leased, or resting after a nack.

Pure state: no I/O, no locks, no clock of its own. Every method takes `now_s`,
seconds on one clock, so a test can jump an hour in a line.

With ordering, the messages of a key form a line. They are leased from its head,
some at once, and while any is out nothing more of the key is given away. An ack
moves the head on; one that overtakes an earlier message waits for it. When one is
given back, so are all that come after it, acknowledged or not. Rests on
https://cloud.google.com/pubsub/docs/ordering.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.rules.delivery import DeliveryRules

__all__ = ["Acked", "DeliveryQueue"]

_TIMERS_SLACK: Final = 64
_REMEMBERED_ACKS: Final = 10_000


class Acked(NamedTuple):
    """What became of an ack.

    Attributes:
        valid: False: with exactly-once delivery, it came too late or was for an earlier delivery.
        settled: ids of messages that are done with: this one, those that waited for it, or none.
    """

    valid: bool
    settled: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class _Entry:
    """A message that is not done with. It is ready if neither leased, resting nor exhausted."""

    message_id: int
    size_bytes: int
    line: _Line | None
    failures: int = 0
    lease: Lease | None = None
    rests_until_s: float | None = None
    exhausted: bool = False
    acked: bool = False
    copies: int = 0


@dataclass(slots=True, eq=False)
class _Line:
    """The messages of one ordering key, in the order of publishing.

    Attributes:
        entries: by message id.
        out: how many are leased, resting or exhausted.
        offered: whether the head is among the ready.
    """

    key: str
    entries: OrderedDict[int, _Entry] = field(default_factory=OrderedDict)  # its head is found at once
    out: int = 0
    offered: bool = False

    def after(self, message_id: int) -> list[_Entry]:
        return [entry for other, entry in self.entries.items() if other > message_id]

    def head(self) -> _Entry:
        return next(iter(self.entries.values()))


class DeliveryQueue:
    """What one subscription has still to deliver, or to see acknowledged.

    Args:
        rules: how; may be replaced, but not `ordered`.
        serials: rising numbers for the leases, above all of the past.
    """

    def __init__(self, rules: DeliveryRules | None = None, *, serials: Iterator[int] | None = None) -> None:
        self.rules = rules or DeliveryRules()
        self._serials = serials if serials is not None else itertools.count(1)
        self._entries: dict[int, _Entry] = {}
        self._ready: OrderedDict[int, _Entry] = OrderedDict()  # of a line, the head only
        self._lines: dict[str, _Line] = {}
        self._waiting_in_line = 0  # ready too, behind a head that is
        self._timers: list[tuple[float, int]] = []
        self._out: dict[int, _Entry] = {}  # leased or resting: these have a timer
        self._exhausted: list[int] = []
        self._confirmed: OrderedDict[int, None] = OrderedDict()  # serials of acks, for their repeats
        self._first_serial = 0  # deliveries before this one are forgotten

    def __len__(self) -> int:
        """Return how many messages are not done with."""
        return len(self._entries)

    def __contains__(self, message_id: int) -> bool:
        """Tell whether a message is not done with."""
        return message_id in self._entries

    def __iter__(self) -> Iterator[int]:
        """Yield the ids of all messages that are not done with."""
        return iter(self._entries)

    def message_ids(self) -> list[int]:
        """Return the ids of all messages that are not done with."""
        return list(self._entries)

    @property
    def ready(self) -> int:
        """How many messages could be taken now."""
        return len(self._ready) + self._waiting_in_line

    def add(
        self,
        message_id: int,
        size_bytes: int,
        *,
        key: str = "",
        delay_s: float = 0.0,
        now_s: float = 0.0,
        copies: int = 0,
    ) -> None:
        """Add a message that is to be delivered; ids rise in the order of publishing.

        Args:
            message_id: which.
            size_bytes: for flow control.
            key: ordering key; empty: none. Without ordering it means nothing.
            delay_s: from `now_s`, before which it is not delivered.
            now_s: the present.
            copies: further deliveries that follow the first without its having failed; not in a line.
        """
        if not key or not self.rules.ordered:
            entry = self._entries[message_id] = _Entry(message_id, size_bytes, None, copies=copies)
            if delay_s > 0:
                self._rest(entry, now_s + delay_s)
            else:
                self._ready[message_id] = entry
            return
        line = self._lines.get(key) or self._lines.setdefault(key, _Line(key))
        if delay_s > 0:
            self._withdraw(line)
        entry = self._entries[message_id] = line.entries[message_id] = _Entry(message_id, size_bytes, line)
        if delay_s > 0:
            self._rest(entry, now_s + delay_s)
        elif line.offered:
            self._waiting_in_line += 1
        else:
            self._offer(line)

    def take(
        self,
        consumer: Consumer,
        *,
        now_s: float,
        lease_s: float,
        max_messages: int,
        max_bytes: int,
    ) -> list[Lease]:
        """Lease ready messages to a consumer, the oldest first, as far as it has room.

        Args:
            consumer: who takes them.
            now_s: the present.
            lease_s: for how long.
            max_messages: at most so many, however much room there is.
            max_bytes: together at most so many, but one message at least.
        """
        taken: list[Lease] = []
        left_bytes = max_bytes

        def fits(entry: _Entry) -> bool:
            within = not taken or entry.size_bytes <= left_bytes
            return within and consumer.has_room and len(taken) < max_messages

        while self._ready:
            message_id, first = next(iter(self._ready.items()))
            if not fits(first):
                break
            del self._ready[message_id]
            line = first.line
            if line is not None:
                self._withdraw(line)
            follow = line.entries.values() if line is not None else ()
            for entry in (first,) if line is None else list(itertools.islice(follow, max_messages)):
                if not fits(entry):
                    break
                left_bytes -= entry.size_bytes
                taken.append(self._lease(entry, consumer, now_s=now_s, lease_s=lease_s))
        return taken

    def acknowledge(self, message_id: int, serial: int, *, now_s: float) -> Acked:
        """Take an ack for a delivery. A repeat is as valid as the first.

        Without exactly-once delivery it is always valid, and any delivery of a message may acknowledge
        it: a late or superseded one, and one from before a restart.
        """
        entry = self._entries.get(message_id)
        lease = entry.lease if entry is not None else None
        if self.rules.exactly_once:
            if serial in self._confirmed:
                return Acked(True)
            if entry is None or lease is None or lease.serial != serial or lease.until_s <= now_s:
                return Acked(False)
            self._confirmed[serial] = None
            if len(self._confirmed) > _REMEMBERED_ACKS:
                self._confirmed.popitem(last=False)
            return Acked(True, self._drop(entry))
        if entry is None or serial < self._first_serial:
            return Acked(True)
        if entry.line is None or entry.line.head() is entry:
            return Acked(True, self._drop(entry))
        if lease is not None:  # an earlier one of its key is still out
            entry.acked = True
            self._end_lease(entry)
        return Acked(True)

    def discard(self, message_id: int) -> tuple[int, ...]:
        """Drop a message wherever it is; return what is done with: itself, and what waited for it."""
        entry = self._entries.get(message_id)
        return self._drop(entry) if entry is not None else ()

    def extend(self, message_id: int, serial: int, *, now_s: float, lease_s: float) -> bool:
        """Let a lease end `lease_s` from now; 0 gives the message back.

        Returns:
            False: that delivery is over. Nothing was changed.
        """
        entry = self._entries.get(message_id)
        lease = entry.lease if entry is not None else None
        if entry is None or lease is None or lease.serial != serial or lease.until_s <= now_s:
            return False
        if lease_s == 0:
            self._give_back(entry, now_s=now_s)
        else:
            lease.until_s = now_s + lease_s
            self._set_timer(lease.until_s, message_id)
        return True

    def expire(self, *, now_s: float) -> list[int]:
        """End leases and rests whose time has come; return the messages whose lease it was."""
        expired = []
        while self._timers and self._timers[0][0] <= now_s:
            _, message_id = heapq.heappop(self._timers)
            entry = self._entries.get(message_id)
            if entry is None:
                continue
            if entry.lease is not None and entry.lease.until_s <= now_s:
                self._give_back(entry, now_s=now_s)
                expired.append(message_id)
            elif entry.rests_until_s is not None and entry.rests_until_s <= now_s:
                self._end_rest(entry)
                self._make_ready(entry)
        return expired

    def next_expiry_s(self) -> float | None:
        """Return when `expire` may next have something to do; None: never."""
        while self._timers:
            at_s, message_id = self._timers[0]
            entry = self._entries.get(message_id)
            if entry is not None and _timer_of(entry) == at_s:
                return at_s
            heapq.heappop(self._timers)  # of a lease that was extended or has ended
        return None

    def hurry(self, message_id: int) -> None:
        """End the rest of a message now. One that does not rest is left alone."""
        entry = self._entries.get(message_id)
        if entry is not None and entry.rests_until_s is not None:
            self._end_rest(entry)
            self._make_ready(entry)

    def take_exhausted(self) -> list[tuple[int, int]]:
        """Return the messages that have failed too often since the last time, and how often.

        They rest until they are discarded or revived.
        """
        exhausted, self._exhausted = self._exhausted, []
        entries = [self._entries[i] for i in exhausted if i in self._entries]
        return [(entry.message_id, entry.failures) for entry in entries if entry.exhausted]

    def revive(self, message_id: int, *, now_s: float) -> None:
        """Deliver an exhausted message again: there is no place to set it aside."""
        entry = self._entries[message_id]
        entry.exhausted = False
        self._leave(entry)
        self._rest_or_ready(entry, now_s=now_s)

    def restart(self) -> None:
        """Give everything back as if it had never been delivered, in the order of publishing.

        Acks and extensions of earlier deliveries mean nothing any more.
        """
        entries = sorted(self._entries.values(), key=lambda entry: entry.message_id)
        for entry in entries:
            if entry.lease is not None:
                entry.lease.free()
        self._entries, self._ready, self._lines = {}, OrderedDict(), {}
        self._waiting_in_line = 0
        self._out, self._timers, self._exhausted = {}, [], []
        self._first_serial = next(self._serials)
        for entry in entries:
            key = entry.line.key if entry.line is not None else ""
            self.add(entry.message_id, entry.size_bytes, key=key)

    # Inside

    def _lease(self, entry: _Entry, consumer: Consumer, *, now_s: float, lease_s: float) -> Lease:
        lease = Lease(
            entry.message_id,
            next(self._serials),
            entry.failures + 1,
            entry.size_bytes,
            now_s + lease_s,
            consumer,
        )
        lease.occupy()
        self._out[entry.message_id] = entry
        entry.lease = lease
        if entry.line is not None:
            entry.line.out += 1
        if entry.copies:
            entry.copies -= 1
            self._end_lease(entry)
            self._make_ready(entry)
        else:
            self._set_timer(lease.until_s, entry.message_id)
        return lease

    def _drop(self, entry: _Entry) -> tuple[int, ...]:
        """Remove a message, and those of its line that only wait for it to be acknowledged."""
        settled = [entry.message_id]
        if entry.line is not None and entry.line.head() is entry:
            settled += [
                each.message_id
                for each in itertools.takewhile(lambda each: each.acked, entry.line.after(entry.message_id))
            ]
        for message_id in settled:
            self._remove(self._entries[message_id])
        return tuple(settled)

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.message_id]
        self._ready.pop(entry.message_id, None)
        line = entry.line
        if line is not None:
            self._withdraw(line)
            del line.entries[entry.message_id]
        if entry.lease is not None:
            self._end_lease(entry)
        elif entry.rests_until_s is not None:
            self._end_rest(entry)
        elif entry.exhausted:
            self._leave(entry)
        if line is not None:
            self._offer(line)

    def _give_back(self, entry: _Entry, *, now_s: float) -> None:
        """End a lease without an ack, and those of all that follow in its line."""
        for later in entry.line.after(entry.message_id) if entry.line is not None else ():
            later.acked = False
            if later.lease is not None:
                self._end_lease(later)
        entry.failures += 1
        self._end_lease(entry, offer=False)
        if self.rules.max_attempts is not None and entry.failures >= self.rules.max_attempts:
            entry.exhausted = True
            self._exhausted.append(entry.message_id)
            if entry.line is not None:
                entry.line.out += 1
            return
        self._rest_or_ready(entry, now_s=now_s)

    def _rest_or_ready(self, entry: _Entry, *, now_s: float) -> None:
        delay_s = self.rules.delays.after(entry.failures)
        if delay_s > 0:
            self._rest(entry, now_s + delay_s)
        else:
            self._make_ready(entry)

    def _rest(self, entry: _Entry, until_s: float) -> None:
        entry.rests_until_s = until_s
        self._out[entry.message_id] = entry
        if entry.line is not None:
            entry.line.out += 1
        self._set_timer(until_s, entry.message_id)

    def _end_rest(self, entry: _Entry) -> None:
        entry.rests_until_s = None
        del self._out[entry.message_id]
        self._leave(entry)

    def _make_ready(self, entry: _Entry) -> None:
        """Put it behind what waits: a message that is always given back must not starve the others."""
        if entry.line is None:
            self._ready[entry.message_id] = entry
        else:
            self._offer(entry.line)

    def _end_lease(self, entry: _Entry, *, offer: bool = True) -> None:
        if entry.lease is None:
            return
        entry.lease.free()
        entry.lease = None
        del self._out[entry.message_id]
        self._leave(entry)
        if offer and entry.line is not None:
            self._offer(entry.line)

    def _leave(self, entry: _Entry) -> None:
        if entry.line is not None:
            entry.line.out -= 1

    def _offer(self, line: _Line) -> None:
        """Make a line's messages ready, if none of them is out."""
        if not line.entries:
            self._lines.pop(line.key, None)
        elif not line.out and not line.offered:
            line.offered = True
            head = line.head()
            self._ready[head.message_id] = head
            self._waiting_in_line += len(line.entries) - 1

    def _withdraw(self, line: _Line) -> None:
        """Take a line's messages back from the ready, before it changes."""
        if line.offered:
            line.offered = False
            self._ready.pop(line.head().message_id, None)
            self._waiting_in_line -= len(line.entries) - 1

    def _set_timer(self, at_s: float, message_id: int) -> None:
        heapq.heappush(self._timers, (at_s, message_id))
        if len(self._timers) > 2 * len(self._out) + _TIMERS_SLACK:
            # Most are of leases that were extended or have ended: one is left for each message.
            timers = ((_timer_of(entry), message_id) for message_id, entry in self._out.items())
            self._timers = [(at_s, message_id) for at_s, message_id in timers if at_s is not None]
            heapq.heapify(self._timers)


def _timer_of(entry: _Entry) -> float | None:
    return entry.lease.until_s if entry.lease is not None else entry.rests_until_s
