"""`kill -9` of a task's worker at each instant: one piece of work, one answer, nothing left behind."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from tests.airflow.runs import started, succeed

from longcall.cli.stack import LocalStack

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600)]


@pytest.mark.airflow_defect("3.0", "a task whose process is killed gets no other try")
def test_worker_killed_at_any_instant_starts_nothing_twice(
    stack: LocalStack, subscriptions: Subscriptions, rounds: int
) -> None:
    before, known = subscriptions.names(), started(stack)

    run_id = succeed(stack, "dying", {"each": max(1, rounds // 10)})

    tasks = [task for task in stack.airflow.task_instances("dying", run_id) if task.task_id == "call"]
    rows: dict[str, list[int]] = defaultdict(list)
    for task in tasks:
        result = stack.airflow.xcom("dying", run_id, "call", map_index=task.map_index)
        assert isinstance(result, dict), f"{task} has no result: {result}"
        rows[str(result["n"]).split("/")[1]].append(int(str(result["starts"])))
        assert task.try_number == 2
    print("\n| worker killed | kills | lost | started twice |\n| --- | --- | --- | --- |")
    for instant, starts in rows.items():
        print(f"| {instant} | {len(starts)} | 0 | {sum(n > 1 for n in starts)} |")
    assert {n for starts in rows.values() for n in starts} == {1}
    assert started(stack) - known == len(tasks)
    assert subscriptions.names() == before
