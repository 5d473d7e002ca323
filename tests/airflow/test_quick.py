"""Services that are done before Airflow has let go of the task: none of the calls is lost, no task is failed.

Airflow's scheduler fails a task that is resumed before it has heard of the deferral (apache/airflow #72716);
the tasks have no retries, so that one such failure fails the run.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

import pytest
from tests.airflow.runs import succeed

from longcall.cli.stack import LocalStack

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600)]


def test_calls_of_very_quick_services_all_succeed(
    stack: LocalStack, subscriptions: Subscriptions, rounds: int
) -> None:
    before = subscriptions.names()

    run_id = succeed(stack, "quick", {"each": max(2, rounds // 2)})

    results = stack.airflow.xcom("quick", run_id, "collect")
    assert isinstance(results, list)
    tasks = [task for task in stack.airflow.task_instances("quick", run_id) if task.task_id == "call"]
    assert sorted(result["echo"]["n"] for result in results) == list(range(len(tasks)))
    took_s: dict[float, list[float]] = defaultdict(list)
    for task in tasks:
        assert task.started is not None
        assert task.ended is not None
        delay_s = results[task.map_index]["echo"]["delay_s"]
        took_s[delay_s].append((task.ended - task.started).total_seconds())
    print("\n| the work takes | calls | lost | failed | task, median |\n| --- | --- | --- | --- | --- |")
    for delay_s, durations in sorted(took_s.items()):
        print(f"| {delay_s:g} s | {len(durations)} | 0 | 0 | {median(durations):.1f} s |")
    assert {task.try_number for task in tasks} == {1}
    assert subscriptions.names() == before
