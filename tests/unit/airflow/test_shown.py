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
        (Heartbeat(), []),
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
