"""Tasks of three kinds whose events take turns."""

from __future__ import annotations

import os

from airflow.sdk import DAG
from schedule import places
from timed import FloorOperator, TimedOperator

CALLS = int(os.environ["BENCH_CALLS"])


def numbers(kind: int) -> list[dict[str, int]]:
    """Return the arguments of the tasks of one kind."""
    return [{"n": n} for n in places(kind, kinds=3, calls=CALLS)]


with DAG("resume", max_active_tasks=3 * CALLS):
    FloorOperator.partial(task_id="floor").expand_kwargs(numbers(0))
    for kind, policy, inbox in ((1, "per_call", None), (2, "shared", "bench-shared")):
        TimedOperator.partial(
            task_id=policy,
            endpoint="/answer",
            http_conn_id="service",
            topic="completions",
            inbox_policy=policy,
            inbox=inbox,
        ).expand(data=numbers(kind))
