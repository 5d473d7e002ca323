"""Where time comes from, so that a test can bring its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "ShiftedClock", "SystemClock"]


class Clock(Protocol):
    """Two clocks in one: `monotonic_s` measures, `now` dates."""

    def monotonic_s(self) -> float:
        """Return seconds on a clock that never goes back."""
        ...

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_s(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the wall clock's instant in UTC."""
        return datetime.now(UTC)


class ShiftedClock:
    """Another clock, set forward as far as somebody wants."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s = 0.0

    def monotonic_s(self) -> float:
        """Return the other clock's seconds, and those it was set forward."""
        return self._clock.monotonic_s() + self._ahead_s

    def now(self) -> datetime:
        """Return the other clock's instant, and what it was set forward."""
        return self._clock.now() + timedelta(seconds=self._ahead_s)

    def advance(self, seconds: float) -> None:
        """Set it forward."""
        self._ahead_s += seconds
