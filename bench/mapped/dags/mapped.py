"""Mapped tasks in many DAG runs, and one at the end of each that looks whether an answer went astray."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, task
from floor import FloorOperator

from longcall.airflow import LongCallOperator

MAPPED = int(os.environ["BENCH_MAPPED"])
RUNS = int(os.environ["BENCH_RUNS"])


@task
def check(kind: str, answers: list[dict[str, Any]], run: str) -> None:
    """Fail if an answer is not its own task's."""
    expected = [{"kind": kind, "run": run, "n": n} for n in range(MAPPED)]
    crossed = [answer for answer, own in zip(answers, expected, strict=True) if answer["arguments"] != own]
    assert not crossed, crossed[:3]
    assert len({answer.get("correlid", n) for n, answer in enumerate(answers)}) == MAPPED


for kind in ("floor", "per_call", "shared"):
    with DAG(f"mapped_{kind}", max_active_runs=RUNS, max_active_tasks=RUNS * (MAPPED + 1)):
        arguments = [{"kind": kind, "run": "{{ run_id }}", "n": n} for n in range(MAPPED)]
        if kind == "floor":
            tasks = FloorOperator.partial(task_id="call").expand(data=arguments)
        else:
            tasks = LongCallOperator.partial(
                task_id="call",
                endpoint="/together",
                http_conn_id="service",
                topic="completions",
                inbox_policy=kind,
                inbox="bench-mapped" if kind == "shared" else None,
            ).expand(data=arguments)
        check(kind, tasks.output, "{{ run_id }}")
