"""Tasks of three kinds whose events are spread out, so that they do not wait for each other."""

from __future__ import annotations

import os

from airflow.sdk import DAG
from floor import FloorOperator

from longcall.airflow import LongCallOperator

CALLS = int(os.environ["BENCH_CALLS"])
APART_S = 1.3  # not a multiple of the triggerer's own rhythm of one second
START_S = 20.0  # by then all tasks are deferred

delays = [START_S + APART_S * n for n in range(3 * CALLS)]

with DAG("resume"):
    FloorOperator.partial(task_id="floor").expand(delay_s=delays[0::3])
    for policy, mine, inbox in (("per_call", delays[1::3], None), ("shared", delays[2::3], "bench-shared")):
        LongCallOperator.partial(
            task_id=policy,
            endpoint="/answer",
            http_conn_id="service",
            topic="completions",
            inbox_policy=policy,
            inbox=inbox,
        ).expand(data=[{"delay_s": delay_s} for delay_s in mine])
