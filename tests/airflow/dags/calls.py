"""Calls of every outcome, for the tests beside this folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from dag_names import DAG, task

from longcall.airflow import LongCallOperator, LongCallSweepOperator, LongCallTaskGroup

SERVICE = {"topic": "reports", "http_conn_id": "service"}
HUNDRED = [{"n": n, "calls": 100} for n in range(100)]
FORTY = [{"n": n, "calls": 40} for n in range(40)]
QUICK_S = (0.0, 0.3, 1.0, 3.0)
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=0)}


@task
def collect(results: list[dict[str, object]]) -> list[dict[str, object]]:
    return list(results)


with DAG("hundred_per_call"):
    calls = LongCallOperator.partial(task_id="call", endpoint="/together", **SERVICE).expand(data=HUNDRED)
    collect(calls.output)

with DAG("forty_shared"):
    calls = LongCallOperator.partial(
        task_id="call", endpoint="/together", inbox_policy="shared", inbox="tests-shared", **SERVICE
    ).expand(data=FORTY)
    collect(calls.output)

with DAG("at_once"):
    calls = LongCallOperator.partial(task_id="call", endpoint="/echo", **SERVICE).expand(
        data=[{"n": n} for n in range(8)]
    )
    collect(calls.output)


@task
def delays(dag_run: Any = None) -> list[dict[str, float]]:
    """Return the arguments of as many calls as the run is told to make for each length of work."""
    number = len(QUICK_S) * int(dag_run.conf["each"])
    return [{"n": n, "delay_s": QUICK_S[n % len(QUICK_S)]} for n in range(number)]


with DAG("quick"):
    calls = LongCallOperator.partial(task_id="call", endpoint="/echo", **SERVICE).expand(data=delays())
    collect(calls.output)

with DAG("bare_service"):
    LongCallOperator(
        task_id="call", endpoint="/serve", topic="reports", http_conn_id="article", data="Airflow"
    )

with DAG("secret_result"):
    LongCallOperator(task_id="call", endpoint="/secret", **SERVICE)

with DAG("four_steps"):
    group = LongCallTaskGroup("steps", endpoint="/echo", data={"n": 7, "delay_s": 1}, **SERVICE)
    collect([group.output])

OWN = {"http_conn_id": "service", "inbox_policy": "per_call_topic"}

with DAG("own_topic"):
    call = LongCallOperator(task_id="call", endpoint="/echo", data={"delay_s": 1}, **OWN)
    group = LongCallTaskGroup("steps", endpoint="/echo", data={"delay_s": 1}, **OWN)
    failing = LongCallTaskGroup("failing", endpoint="/fails-for-good", **OWN)
    collect([call.output, group.output])

with DAG("result_elsewhere"):
    allowed = {"result_prefixes": [f"file://{os.environ['RESULTS_FOLDER']}"]}
    LongCallOperator(task_id="allowed", endpoint="/elsewhere", **SERVICE, **allowed)
    LongCallOperator(task_id="not_allowed", endpoint="/elsewhere", **SERVICE, **RETRIES)
    LongCallOperator(task_id="too_large", endpoint="/elsewhere", max_result_bytes=5, **SERVICE, **allowed)

with DAG("four_steps_failing"):
    LongCallTaskGroup("steps", endpoint="/fails-for-good", **SERVICE)

with DAG("service_fails"):
    LongCallOperator(task_id="call", endpoint="/fails", **SERVICE, **RETRIES)

with DAG("fails_once"):
    LongCallOperator(task_id="call", endpoint="/fails-once", data="{{ run_id }}", **SERVICE, **RETRIES)

with DAG("service_fails_for_good"):
    LongCallOperator(task_id="call", endpoint="/fails-for-good", **SERVICE, **RETRIES)

with DAG("shell_script"):
    LongCallOperator(
        task_id="call",
        endpoint="/serve",
        topic="reports",
        http_conn_id="command",
        data={"folder": "{{ dag_run.conf['folder'] }}", "date": "2026-01-31"},
    )

with DAG("forever"):
    LongCallOperator(task_id="call", endpoint="/forever", **SERVICE)

with DAG("forever_shared"):
    LongCallOperator(
        task_id="call", endpoint="/forever", inbox_policy="shared", inbox="tests-shared", **SERVICE
    )

with DAG("forever_in_steps"):
    LongCallTaskGroup("steps", endpoint="/forever", **SERVICE)

with DAG("exceeds_execution_timeout"):
    LongCallOperator(task_id="call", endpoint="/forever", execution_timeout=timedelta(seconds=8), **SERVICE)

with DAG("falls_silent"):
    LongCallOperator(task_id="call", endpoint="/forever", heartbeat_timeout=timedelta(seconds=2), **SERVICE)

with DAG("times_out_in_steps"):
    LongCallTaskGroup("steps", endpoint="/forever", timeout=timedelta(seconds=2), **SERVICE)

with DAG("sweep"):
    LongCallSweepOperator(task_id="sweep", services=["service"], older_than=timedelta(0))

with DAG("released"):
    LongCallOperator(task_id="call", endpoint="/held", **SERVICE)

with DAG("times_out"):
    LongCallOperator(task_id="call", endpoint="/forever", timeout=timedelta(seconds=2), **SERVICE)

with DAG("bad_input"):
    bad = {"endpoint": "/echo", **SERVICE, **RETRIES}
    LongCallOperator(task_id="missing_topic", **(bad | {"topic": "no-such-topic"}))
    LongCallOperator(task_id="bad_topic_name", **(bad | {"topic": "no such topic"}))
    LongCallOperator(task_id="missing_connection", **(bad | {"http_conn_id": "no_such_connection"}))
    LongCallOperator(task_id="bad_url", **(bad | {"http_conn_id": "bad_url"}))
    LongCallOperator(task_id="missing_path", **(bad | {"endpoint": "/no-such-path"}))
    LongCallOperator(task_id="bad_payload", **(bad | {"data": {"when": datetime(2026, 1, 31, tzinfo=UTC)}}))
    LongCallOperator(task_id="bad_policy", **(bad | {"inbox_policy": "per_week"}))
    LongCallOperator(task_id="shared_without_name", **(bad | {"inbox_policy": "shared"}))
