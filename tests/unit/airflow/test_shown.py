"""What a task's log shows of what a service reports."""

from __future__ import annotations

import logging

import pytest

from longcall.airflow.shown import ShownLines
from longcall.contract import Accepted, Heartbeat, Log, LogLine, Progress, ReportBody


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (Accepted(), [(logging.INFO, "The service reports: accepted")]),
        (Heartbeat(), [(logging.INFO, "The service is at work: heartbeat")]),
        (Progress(done=3), [(logging.INFO, "Progress: 3")]),
        (
            Progress(done=3, total=10.5, unit="models", message="deep\nINFO forged"),
            [(logging.INFO, "Progress: 3 of 10.5 models deep\\nINFO forged")],
        ),
        (
            Log(lines=(LogLine(message="\x1b[31mhot", level="warning"), LogLine(message="x"))),
            [(logging.WARNING, "Service: hot"), (logging.INFO, "Service: x")],
        ),
    ],
)
def test_reports_are_lines(body: ReportBody, shown: list[tuple[int, str]]) -> None:
    assert list(ShownLines().of(body, now_s=0.0)) == shown


def test_of_too_many_lines_the_number_is_shown() -> None:
    shown = ShownLines()
    flood = Log(lines=(LogLine(message="x"),) * 1000)
    assert len(list(shown.of(flood, now_s=0.0))) == 200
    assert next(shown.of(flood, now_s=1.0)) == (logging.WARNING, "(800 lines of the service left out)")
    assert len(list(shown.of(flood, now_s=2.0))) == 39
    assert [text for _, text in shown.end()] == ["(961 lines of the service left out)"]
    assert list(shown.end()) == []


def test_heartbeat_is_shown_only_where_nothing_else_was_for_a_while() -> None:
    shown = ShownLines()
    times = [0.0, 30.0, 290.0, 310.0, 340.0, 900.0]
    assert [len(list(shown.of(Heartbeat(), now_s=now_s))) for now_s in times] == [1, 0, 0, 1, 0, 1]
    list(shown.of(Progress(done=1), now_s=1000.0))
    assert list(shown.of(Heartbeat(), now_s=1290.0)) == []
