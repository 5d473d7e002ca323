"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

__all__ = ["VirtualClock"]


class VirtualClock:
    """`Clock` whose time passes in `advance` only. May be shared by threads."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._passed_s = 0.0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    def monotonic_s(self) -> float:
        """Return how many seconds were advanced so far."""
        return self._passed_s

    def now(self) -> datetime:
        """Return the start plus what was advanced so far."""
        return self._start + timedelta(seconds=self._passed_s)

    def advance(self, seconds: float) -> None:
        """Let time pass, and return when everybody who listens has done what became due."""
        with self._lock:
            self._passed_s += seconds
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call `listener` after each `advance`, in the thread that advances."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
