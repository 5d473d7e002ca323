"""Tasks of three kinds that take turns."""

from __future__ import annotations

import os

from airflow.sdk import DAG
from timed import FloorOperator, TimedOperator

CALLS = int(os.environ["BENCH_CALLS"])

with DAG("resume", max_active_tasks=3 * CALLS):
    FloorOperator.partial(task_id="floor").expand(n=list(range(0, 3 * CALLS, 3)))
    for first, policy, inbox in ((1, "per_call", None), (2, "shared", "bench-shared")):
        TimedOperator.partial(
            task_id=policy,
            endpoint="/answer",
            http_conn_id="service",
            topic="completions",
            inbox_policy=policy,
            inbox=inbox,
        ).expand(data=[{"n": n} for n in range(first, 3 * CALLS, 3)])
