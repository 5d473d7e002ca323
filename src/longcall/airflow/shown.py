"""What of a service's reports stands in the task's log: its lines, at a bounded rate. Pure."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Final

from longcall._core.lines import LineBudget, one_line
from longcall.contract import MAX_LINE_LENGTH, Heartbeat, Log, Progress, ReportBody

__all__ = ["ShownLines"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_QUIET_S: Final = 300.0
"""Without another line for so long, a heartbeat is shown: the last sign of life is never much older."""


class ShownLines:
    """Turns the reports of one call into lines for a log: 200 at once, then 20 a second, and how many not.

    A heartbeat is a line when there was none for five minutes.

    What comes from the service may be anything: no line of it looks like two, or like the log's own.
    """

    def __init__(self) -> None:
        self._budget = LineBudget()
        self._shown_s = -math.inf

    def of(self, body: ReportBody, *, now_s: float) -> Iterator[tuple[int, str]]:
        """Yield lines with their levels of `logging`.

        Args:
            body: what the service reports; of a completion only that it is one.
            now_s: the present on a clock that never goes back.
        """
        if isinstance(body, Heartbeat) and now_s - self._shown_s < _QUIET_S:
            return
        for level, text in _lines(body):
            if self._budget.allows(now_s=now_s):
                self._shown_s = now_s
                yield from self.end()
                yield level, one_line(text, limit=MAX_LINE_LENGTH)

    def end(self) -> Iterator[tuple[int, str]]:
        """Yield how many were left out since that was last said, if any were."""
        left_out = self._budget.take_left_out()
        if left_out:
            yield logging.WARNING, f"({left_out} lines of the service left out)"


def _lines(body: ReportBody) -> Iterator[tuple[int, str]]:
    match body:
        case Log(lines=lines):
            for line in lines:
                yield _LEVELS[line.level], f"Service: {line.message}"
        case Progress(done=done, total=total, unit=unit, message=message):
            of_total = f" of {total:g}" if total is not None else ""
            yield logging.INFO, " ".join(filter(None, (f"Progress: {done:g}{of_total}", unit, message)))
        case Heartbeat():
            yield logging.INFO, "The service is at work: heartbeat"
        case _:
            yield logging.INFO, f"The service reports: {type(body).__name__.lower()}"
