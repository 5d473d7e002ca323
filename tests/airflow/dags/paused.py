"""Calls that pause at an instant of their life: see `pausing.py`. (Airflow skips a file without its name.)"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dag_names import DAG, task
from pausing import PausingOperator


@task(retries=5, retry_delay=timedelta(seconds=0))
def calls(dag_run: Any = None) -> list[dict[str, Any]]:
    """Return the arguments of one call for each `at` of the run."""
    names = {at: f"{dag_run.run_id}-{n}".replace("/", "-") for n, at in enumerate(dag_run.conf["pauses"])}
    return [{"at": at.split("/")[0], "key": names[at], "data": {"n": names[at], "work_s": 2}} for at in names]


with DAG("paused"):
    PausingOperator.partial(
        task_id="call",
        endpoint="/counted",
        topic="reports",
        http_conn_id="service",
        retries=20,
        retry_delay=timedelta(seconds=0),
    ).expand_kwargs(calls())
