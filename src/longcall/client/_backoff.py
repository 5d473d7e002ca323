"""For how long to wait before the next attempt. Pure but for the dice, which can be brought."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Pauses that double from `min_s` to `max_s`, each between half and one and a half of itself."""

    def __init__(self, *, min_s: float, max_s: float, dice: Callable[[], float] = random.random) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._dice = dice
        self._next_s = min_s

    def reset(self) -> None:
        """Begin again: the last attempt was a success."""
        self._next_s = self._min_s

    def pause_s(self) -> float:
        """Return the next pause in seconds."""
        pause_s = self._next_s * (0.5 + self._dice())
        self._next_s = min(2 * self._next_s, self._max_s)
        return min(pause_s, self._max_s)
