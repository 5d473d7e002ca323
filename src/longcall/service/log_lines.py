"""What a run has to say, line by line: made fit at a bounded rate, and kept for whoever takes it."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from longcall._core.clock import Clock
from longcall._core.lines import LineBudget, one_line
from longcall.contract import MAX_LINE_LENGTH, MAX_LOG_LINES, LogLevel, LogLine

__all__ = ["LogBuffer", "LogWriter"]

_MAX_CHARACTERS: Final = 256_000
_LEVELS: Final[dict[str, LogLevel]] = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "critical": "error",
    "fatal": "error",
}


class LogWriter:
    """Takes the lines of one run: 200 at once, then 20 a second; of the others it tells the number."""

    def __init__(self, on_line: Callable[[LogLine], None], *, clock: Clock) -> None:
        """Hand each line that is told to `on_line`, in the thread that says it."""
        self._on_line = on_line
        self._clock = clock
        self._budget = LineBudget()
        self._lock = threading.Lock()

    def write(self, message: str, *, level: str) -> bool:
        """Say something: each line of it is one; False: some of it was only counted.

        What would do something to a terminal or a log is taken out. A level that is none is info.
        """
        told = _LEVELS.get(level.lower(), "info")
        lines = message[:_MAX_CHARACTERS].splitlines() or [""]
        with self._lock:
            return sum(self._write_line(line, told) for line in lines) == len(lines)

    def end(self) -> None:
        """Tell how many lines were left out last. A repeat does nothing."""
        with self._lock:
            self._own_up()

    def _write_line(self, text: str, level: LogLevel) -> bool:
        if not self._budget.allows(now_s=self._clock.monotonic_s()):
            return False
        self._own_up()
        self._put(one_line(text, limit=MAX_LINE_LENGTH), level)
        return True

    def _own_up(self) -> None:
        left_out = self._budget.take_left_out()
        if left_out:
            self._put(f"({left_out} lines left out)", "warning")

    def _put(self, message: str, level: LogLevel) -> None:
        self._on_line(LogLine(message=message, level=level, time=self._clock.now()))


class LogBuffer:
    """Lines that wait to be taken: 1000 of them and 256,000 characters at most; of more, the newest."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque()
        self._characters = 0
        self._left_out = 0

    def __len__(self) -> int:
        """Return how many lines wait."""
        return len(self._lines)

    def put(self, line: LogLine) -> None:
        """Add a line."""
        self._lines.append(line)
        self._characters += len(line.message)
        # One less than a report takes: the first may have to say how many went before it.
        while len(self._lines) >= MAX_LOG_LINES or self._characters > _MAX_CHARACTERS:
            self._characters -= len(self._lines.popleft().message)
            self._left_out += 1

    def take(self) -> Sequence[LogLine]:
        """Take all lines out, the oldest first."""
        lines = list(self._lines)
        if self._left_out:
            lines.insert(0, LogLine(message=f"({self._left_out} lines left out)", level="warning"))
        self._lines.clear()
        self._characters = self._left_out = 0
        return lines

    def give_back(self, lines: Sequence[LogLine]) -> None:
        """Put back what was taken last and could not be used."""
        newer = self.take()
        for line in itertools.chain(lines, newer):
            self.put(line)
