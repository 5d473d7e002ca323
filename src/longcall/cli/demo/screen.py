"""Shows the story: live bars on a terminal, plain lines that can be searched anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from longcall.cli.demo.story import CallView, Line, Story

__all__ = ["Screen"]

_NAME_WIDTH = 20
_PLAIN_WIDTH = 118


class Screen:
    """Writes to standard output, from entering the `with` to leaving it."""

    def __init__(self, story: Story, *, console: Console | None = None) -> None:
        """Keep what is to be shown.

        Args:
            story: its calls are drawn as bars while the screen is a terminal.
            console: default: standard output.
        """
        self._story = story
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            # A log has no width: nothing that one may search for is broken in two.
            self._console = Console(file=self._console.file, highlight=False, width=1000, no_color=True)
        self._began_s = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
        )
        self._bar_ids = dict[str, TaskID]()
        self._live = Live(self._bars, console=self._console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        """Begin."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away; what was said stays."""
        self._live.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the screen was made."""
        return time.monotonic() - self._began_s

    def explain(self, text: str) -> None:
        """Say something that is not about one moment."""
        self._console.print(text, style="dim", soft_wrap=True)

    def say(self, text: str) -> None:
        """Say what happens now, with the time."""
        self._console.print(f"{self._clock()}  {text}", markup=False, soft_wrap=True)

    def fail(self, text: str) -> None:
        """Say what went wrong."""
        self._console.print(f"{self._clock()}  {text}", style="bold red", markup=False, soft_wrap=True)

    def show(self, lines: Iterable[Line]) -> None:
        """Say what has happened to calls, and bring the bars up to date."""
        for line in lines:
            self._console.print(
                f"{self._clock()}  {line.call:<{_NAME_WIDTH}} {line.text}", markup=False, soft_wrap=True
            )
            if line.why:
                self._console.print(f"{'':>8}  {'':<{_NAME_WIDTH}} └ {line.why}", style="dim", soft_wrap=True)
        for call in self._story.calls.values():
            self._draw(call)

    def summarise(self) -> None:
        """Print what became of each call, as a table."""
        table = Table(title="What became of the calls", title_justify="left")
        table.add_column("model")
        table.add_column("call id")
        for heading in (
            "answered (202) after",
            "waited without a worker",
            "completion → task done",
            "accuracy",
        ):
            table.add_column(heading, justify="right")
        winner = self._story.winner
        for call in self._story.calls.values():
            table.add_row(
                escape(call.title),
                call.short_id,
                _unit(call.accepted_ms, "ms"),
                _unit(None if call.waited_s is None else round(call.waited_s, 1), "s"),
                _unit(call.resumed_ms, "ms"),
                call.outcome if call.accuracy is None else f"{call.accuracy:.2%}",
                style="bold" if call is winner else None,
            )
        self._console.print(table, width=min(self._console.width, _PLAIN_WIDTH))

    def _clock(self) -> str:
        return f"{self.elapsed_s:6.1f} s"

    def _draw(self, call: CallView) -> None:
        words = _words(call)
        if call.correlid not in self._bar_ids:
            self._bar_ids[call.correlid] = self._bars.add_task(call.title, words=words)
        self._bars.update(
            self._bar_ids[call.correlid],
            description=f"{call.title:<{_NAME_WIDTH}}",
            completed=call.done,
            total=call.total or None,
            words=words,
        )


def _words(call: CallView) -> str:
    if call.inbox_deleted:
        return "done, inbox deleted"
    if call.outcome:
        return f"{call.outcome}, resuming the task"
    if call.total:
        return f"{call.done:g}/{call.total:g} {call.note}"
    return "accepted, waits for its turn" if call.accepted_at else "inbox ready"


def _unit(value: float | None, unit: str) -> str:
    return "?" if value is None else f"{value:,} {unit}"
