"""What the demo writes, and to a file in plain lines."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from rich.console import Console

from longcall.cli.demo.screen import Screen
from longcall.cli.demo.story import Story
from longcall.cli.stack import TaskInstance
from longcall.contract import Accepted, Progress, Report, Succeeded

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def tell(story: Story, screen: Screen) -> None:
    task = TaskInstance(
        task_id="train", map_index=0, state="deferred", try_number=1, started=NOON, ended=None, label="[svc]"
    )
    bodies = [Accepted(), Progress(done=1, total=2, unit="folds"), Succeeded.of({"accuracy": 0.975})]
    screen.show(story.see_inboxes(["lc-abc"]))
    screen.show(story.see_task(task, correlid="lc-abc", accepted_ms=12, now=NOON))
    for second, body in enumerate(bodies):
        report = Report(correlation_id="lc-abc", body=body)
        screen.show(story.see_report(report, published=NOON + timedelta(seconds=second)))
    screen.show(story.see_inboxes([]))


def written(*, terminal: bool) -> str:
    file = io.StringIO()
    story = Story()
    console = Console(file=file, force_terminal=terminal, width=110, highlight=False)
    with Screen(story, console=console) as screen:
        tell(story, screen)
        screen.summarise()
        screen.fail("it went wrong: see /somewhere/a.log")
    return file.getvalue()


def test_a_file_receives_plain_lines_without_control_characters() -> None:
    text = written(terminal=False)
    assert "\x1b" not in text
    assert "[svc]                worker released (call lc-abc, 202 after 12 ms)" in text
    assert "it went wrong: see /somewhere/a.log" in text


def test_a_terminal_is_drawn_on() -> None:
    assert "\x1b" in written(terminal=True)


def test_the_table_holds_each_calls_figures() -> None:
    row = next(line for line in written(terminal=False).splitlines() if line.startswith("│ [svc]"))
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "[svc]",
        "lc-abc",
        "12 ms",
        "2.0 s",
        "?",
        "97.50%",
    ]
