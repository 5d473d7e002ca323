"""What has happened to messages, kept for tests that want to look."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Literal, NamedTuple, TypeAlias

__all__ = ["Event", "Journal", "Observer", "What"]

What: TypeAlias = Literal[
    "published", "delivered", "acknowledged", "nacked", "expired", "dead_lettered", "dropped"
]
_KEPT: Final = 100_000


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        number: rises, without gaps.
        what: what happened.
        where: the topic of `published`, else the subscription.
        message_id: to which message.
        attempt: of `delivered`: 1 and one more for each failure before; else 0.
        message: of `published`: the `PubsubMessage`; else None.
    """

    number: int
    what: What
    where: str
    message_id: str
    attempt: int
    message: Any


class Observer:
    """Is told what happens to messages, and takes no notice."""

    def note(self, what: What, where: str, message_id: int, *, attempt: int = 0, message: Any = None) -> None:
        """Take note."""


class Journal(Observer):
    """Keeps the latest events. For one event loop."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._next = 0
        self._more = asyncio.Event()

    def note(self, what: What, where: str, message_id: int, *, attempt: int = 0, message: Any = None) -> None:
        """Keep an event."""
        self._events.append(Event(self._next, what, where, str(message_id), attempt, message))
        self._next += 1
        self._more.set()

    def since(self, number: int) -> list[Event]:
        """Return the events from a number on, as far as they are kept."""
        skipped = max(0, len(self._events) - (self._next - number))
        return list(self._events)[skipped:] if number < self._next else []

    async def wait(self, number: int, wait_s: float) -> list[Event]:
        """Return the events from a number on; wait for the first of them, `wait_s` at most."""
        try:
            async with asyncio.timeout(wait_s):
                while number >= self._next:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return []
        return self.since(number)
