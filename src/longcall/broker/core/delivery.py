"""The messages of one subscription between publish and ack: ready, leased, or resting after a nack.

Pure state: no I/O, no locks, no clock of its own. Every method takes `now_s`,
seconds on one clock, so a test can jump an hour in a line. A message is in
exactly one of the three places; an acknowledged one is in none.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from longcall.broker.rules.backoff import RetryDelays

__all__ = ["Consumer", "DeliveryQueue", "Lease"]

_UNLIMITED: Final = 1 << 62
_TIMERS_SLACK: Final = 64


@dataclass(slots=True, eq=False)
class Consumer:
    """Somebody who takes messages: a stream, with its flow control, or one pull.

    Attributes:
        max_messages: un-acked at once.
        max_bytes: likewise; one message always fits.
    """

    max_messages: int = _UNLIMITED
    max_bytes: int = _UNLIMITED
    messages: int = 0
    bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether it may be given one more."""
        return self.messages < self.max_messages and self.bytes < self.max_bytes


@dataclass(slots=True, eq=False)
class Lease:
    """One delivery of one message.

    Attributes:
        message_id: which.
        generation: how many deliveries of it there have been; an older one is superseded.
        size_bytes: what it counts for in flow control.
        until_s: when it ends.
        consumer: who has it.
    """

    message_id: int
    generation: int
    size_bytes: int
    until_s: float
    consumer: Consumer


@dataclass(slots=True)
class DeliveryQueue:
    """What one subscription has still to deliver, or to see acknowledged."""

    delays: RetryDelays = field(default_factory=RetryDelays)
    _ready: OrderedDict[int, int] = field(default_factory=OrderedDict)  # message id -> size
    _leases: dict[int, Lease] = field(default_factory=dict)
    _resting: dict[int, tuple[float, int]] = field(default_factory=dict)  # -> until, size
    _generations: dict[int, int] = field(default_factory=dict)
    _timers: list[tuple[float, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """Return how many messages are not acknowledged."""
        return len(self._ready) + len(self._leases) + len(self._resting)

    def message_ids(self) -> list[int]:
        """Return the ids of all messages that are not acknowledged."""
        return [*self._ready, *self._leases, *self._resting]

    @property
    def ready(self) -> int:
        """How many messages could be taken now."""
        return len(self._ready)

    def add(self, message_id: int, size_bytes: int) -> None:
        """Add a message that is to be delivered; ids rise in the order of publishing."""
        self._ready[message_id] = size_bytes

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
        taken_bytes = 0
        while self._ready and consumer.has_room and len(taken) < max_messages:
            message_id, size = next(iter(self._ready.items()))
            if taken and taken_bytes + size > max_bytes:
                break
            del self._ready[message_id]
            generation = self._generations.get(message_id, 0) + 1
            self._generations[message_id] = generation
            lease = Lease(message_id, generation, size, now_s + lease_s, consumer)
            self._leases[message_id] = lease
            self._set_timer(lease.until_s, message_id)
            consumer.messages += 1
            consumer.bytes += size
            taken_bytes += size
            taken.append(lease)
        return taken

    def acknowledge(self, message_id: int) -> bool:
        """Drop a message for good; tell whether it was still there.

        Without exactly-once delivery, any delivery of a message may acknowledge it: a superseded or late
        one, and one from before a restart, since when the generations count from 1 again.
        """
        return self.discard(message_id)

    def discard(self, message_id: int) -> bool:
        """Drop a message wherever it is; tell whether it was there."""
        lease = self._leases.pop(message_id, None)
        if lease is not None:
            _free(lease)
        elif self._ready.pop(message_id, None) is None and self._resting.pop(message_id, None) is None:
            return False
        self._generations.pop(message_id, None)
        return True

    def extend(self, message_id: int, generation: int, *, now_s: float, lease_s: float) -> None:
        """Let a lease end `lease_s` from now; 0 gives the message back. A superseded one is left alone."""
        lease = self._leases.get(message_id)
        if lease is None or lease.generation != generation:
            return
        if lease_s == 0:
            self._return(lease, now_s=now_s)
            return
        lease.until_s = now_s + lease_s
        self._set_timer(lease.until_s, message_id)

    def expire(self, *, now_s: float) -> None:
        """End leases and rests whose time has come."""
        while self._timers and self._timers[0][0] <= now_s:
            _, message_id = heapq.heappop(self._timers)
            lease = self._leases.get(message_id)
            if lease is not None and lease.until_s <= now_s:
                self._return(lease, now_s=now_s)
            elif message_id in self._resting and self._resting[message_id][0] <= now_s:
                self._ready[message_id] = self._resting.pop(message_id)[1]

    def next_expiry_s(self) -> float | None:
        """Return when `expire` may next have something to do; None: never."""
        while self._timers:
            at_s, message_id = self._timers[0]
            lease, rest = self._leases.get(message_id), self._resting.get(message_id)
            if (lease is not None and lease.until_s == at_s) or (rest is not None and rest[0] == at_s):
                return at_s
            heapq.heappop(self._timers)  # of a lease that was extended or has ended
        return None

    def delivery_attempt(self, lease: Lease) -> int:
        """Return the number of this delivery, from 1."""
        return lease.generation

    def _return(self, lease: Lease, *, now_s: float) -> None:
        del self._leases[lease.message_id]
        _free(lease)
        delay_s = self.delays.after(lease.generation)
        if delay_s > 0:
            self._resting[lease.message_id] = (now_s + delay_s, lease.size_bytes)
            self._set_timer(now_s + delay_s, lease.message_id)
        else:
            # Behind what waits: a message that is always given back must not starve the others.
            self._ready[lease.message_id] = lease.size_bytes

    def _set_timer(self, at_s: float, message_id: int) -> None:
        heapq.heappush(self._timers, (at_s, message_id))
        if len(self._timers) > 2 * (len(self._leases) + len(self._resting)) + _TIMERS_SLACK:
            self._drop_void_timers()

    def _drop_void_timers(self) -> None:
        """Forget the timers of leases that were extended or have ended: one is left for each message."""
        live = [(lease.until_s, message_id) for message_id, lease in self._leases.items()]
        live += [(until_s, message_id) for message_id, (until_s, _) in self._resting.items()]
        heapq.heapify(live)
        self._timers = live


def _free(lease: Lease) -> None:
    lease.consumer.messages -= 1
    lease.consumer.bytes -= lease.size_bytes
