"""What a command prints, line by line: log, or progress. Pure, and bounded whatever is printed.

A line of the form `::progress 3/10 message` is progress; also `::progress 3` (of an unknown total) and
`::progress 30%`. `::debug`, `::info`, `::warning` and `::error` before a text give its level. The two
colons are those of GitHub's workflow commands (`::error::text`), which are understood too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

from longcall.contract import LogLevel, LogLine, Progress

__all__ = ["MAX_LINE_BYTES", "Line", "LineSplitter", "Tail", "parse_line"]

MAX_LINE_BYTES: Final = 65_536
"""Of a line; the rest of a longer one is left out."""

_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_PROGRESS: Final = re.compile(
    rf"::progress(?:::|\s+)\s*({_NUMBER})\s*(?:(%)|/\s*({_NUMBER}))?(?:\s+(.*))?", re.DOTALL
)
_LEVEL: Final = re.compile(r"::(debug|info|warning|error)(?:::|\s+)(.*)", re.DOTALL)
_TAIL_LINES: Final = 20
_TAIL_CHARACTERS: Final = 4000


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line.

    Attributes:
        text: without its end; bytes that are no UTF-8 are written out.
        is_cut: whether it was longer than `MAX_LINE_BYTES`.
    """

    text: str
    is_cut: bool = False


class LineSplitter:
    """Cuts a stream of bytes into lines; holds at most one line, and of that `MAX_LINE_BYTES`."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._is_cut = False

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that `chunk` completes; a carriage return, of a progress bar, ends one as well."""
        *whole, last = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self._take()
        self._add(last)

    def end(self) -> Iterator[Line]:
        """Yield the line that the stream's end completes, if any."""
        if self._rest:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._rest)
        self._is_cut = self._is_cut or len(piece) > room
        self._rest += piece[:room]

    def _take(self) -> Line:
        line = Line(self._rest.decode("utf-8", "backslashreplace"), self._is_cut)
        self._rest.clear()
        self._is_cut = False
        return line


class Tail:
    """The last lines of a stream: 20, and 4000 characters of them."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)

    def add(self, text: str) -> None:
        """Note one more line; an empty one says nothing."""
        if text.strip():
            self._lines.append(text[-_TAIL_CHARACTERS:])

    def __str__(self) -> str:
        """Return them, the oldest first."""
        return "\n".join(self._lines)[-_TAIL_CHARACTERS:]


def parse_line(text: str, *, level: LogLevel = "info") -> Progress | LogLine:
    """Return what a line says; one that is nearly of the form is log, so that its author sees it."""
    found = _PROGRESS.fullmatch(text)
    if found:
        percent = found[2] is not None
        total = 100 if percent else None if found[3] is None else _number(found[3])
        return Progress(
            done=_number(found[1]), total=total, unit="%" if percent else "", message=found[4] or ""
        )
    named = _LEVEL.fullmatch(text)
    if named is None:
        return LogLine(message=text, level=level)
    return LogLine(message=named[2], level=cast("LogLevel", named[1]))


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)
