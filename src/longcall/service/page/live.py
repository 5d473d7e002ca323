"""Tells browsers that something has changed, by server-sent events (HTML standard, section 9.2).

An event says no more than that: the page asks for itself again. One a second at most, none while nothing
happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from longcall.service.calls import Calls

__all__ = ["Watchers"]

_MAX_WATCHERS: Final = 100
_PAUSE_S: Final = 1.0
_BEAT_S: Final = 15.0
_LOOK_S: Final = 3.0
"""Where other processes change calls too."""
_CHANGED: Final = b"event: changed\ndata:\n\n"
_BEAT: Final = b":\n\n"


class Watchers:
    """The open pages of one service."""

    def __init__(self) -> None:
        self._count = 0

    def watch(self, calls: Calls) -> AsyncIterator[bytes] | None:
        """Return the stream of one page, which ends when the service stops; None: a hundred are open."""
        return self._watch(calls) if self._count < _MAX_WATCHERS else None

    async def _watch(self, calls: Calls) -> AsyncIterator[bytes]:
        self._count += 1
        try:
            yield b"retry: 2000\n\n"
            change = calls.next_change()
            while not calls.is_stopping:
                try:
                    async with asyncio.timeout(_BEAT_S if calls.sees_all_changes else _LOOK_S):
                        await change.wait()
                except TimeoutError:
                    yield _BEAT if calls.sees_all_changes else _CHANGED
                else:
                    change = calls.next_change()  # before the pause: what comes meanwhile is not missed
                    yield _CHANGED
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self._count -= 1
