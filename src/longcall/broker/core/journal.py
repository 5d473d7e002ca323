"""What has happened to messages, kept for tests that want to look."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from longcall._core.clock import Clock
from longcall.broker.protos import PubsubMessage

__all__ = ["Event", "Journal", "Observer", "What"]

What: TypeAlias = Literal[
    "published", "delivered", "acknowledged", "nacked", "expired", "dead_lettered", "dropped"
]
_KEPT: Final = 100_000


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        number: rises, without gaps.
        at: when, on the broker's clock.
        what: what happened.
        where: the topic of `published`, else the subscription.
        message_id: to which message.
        attempt: of `delivered`: 1 and one more for each failure before; else 0.
        message: of `published`: the `PubsubMessage`; else None.
    """

    number: int
    at: datetime
    what: What
    where: str
    message_id: str
    attempt: int
    message: PubsubMessage | None


class Observer:
    """Is told what happens to messages, and takes no notice."""

    def note(
        self,
        what: What,
        where: str,
        message_id: int,
        *,
        attempt: int = 0,
        message: PubsubMessage | None = None,
    ) -> None:
        """Take note."""


class Journal(Observer):
    """Keeps the latest events. For one event loop.

    Args:
        clock: the broker's.
        kept: how many events.
    """

    def __init__(self, clock: Clock, *, kept: int = _KEPT) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=kept)
        self._next = 0
        self._more = asyncio.Event()

    def note(
        self,
        what: What,
        where: str,
        message_id: int,
        *,
        attempt: int = 0,
        message: PubsubMessage | None = None,
    ) -> None:
        """Keep an event."""
        at = self._clock.now()
        self._events.append(Event(self._next, at, what, where, str(message_id), attempt, message))
        self._next += 1
        self._more.set()

    def since(self, number: int, *, at_most: int) -> list[Event]:
        """Return the first events from a number on, as far as they are kept."""
        skipped = max(0, len(self._events) - (self._next - number))
        return list(itertools.islice(self._events, skipped, skipped + at_most))

    async def wait(self, number: int, wait_s: float, *, at_most: int) -> list[Event]:
        """Return the first events from a number on; wait for one, `wait_s` at most."""
        try:
            async with asyncio.timeout(wait_s):
                while number >= self._next:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return []
        return self.since(number, at_most=at_most)
