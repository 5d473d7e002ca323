"""Which metrics a call makes, and what they are called."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from longcall.airflow import metrics


class Recorder:
    """In place of Airflow's backend."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[Any, dict[str, str] | None]] = {}

    def incr(self, name: str, tags: dict[str, str] | None = None) -> None:
        self.sent[name] = (1, tags)

    def timing(self, name: str, value: timedelta, tags: dict[str, str] | None = None) -> None:
        self.sent[name] = (value, tags)

    def gauge(self, name: str, value: int, tags: dict[str, str] | None = None) -> None:
        self.sent[name] = (value, tags)


def test_what_is_sent_is_what_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Recorder()
    monkeypatch.setattr(metrics, "Stats", backend)
    task = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)

    metrics.count_started(task, accepted_ms=12)
    for how in get_args(metrics.Ended):
        metrics.count_ended(task, how, duration_s=1.5)
    metrics.count_cancel_request()
    metrics.count_reconciled()
    metrics.count_set_aside()
    metrics.gauge_waits(3)

    assert backend.sent.keys() == metrics.METRICS.keys()
    tags = {"dag_id": "d", "task_id": "t"}
    assert backend.sent["longcall.calls.accept_duration"] == (timedelta(milliseconds=12), tags)
    assert backend.sent["longcall.calls.duration"] == (timedelta(seconds=1.5), tags)
    assert backend.sent["longcall.waits.open"] == (3, None)


def test_every_metric_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "airflow.md").read_text()
    documented = dict(re.findall(r"^\| `(longcall\.[a-z._]+)` \| (.*) \|$", page, re.MULTILINE))
    assert documented == metrics.METRICS
