"""Tasks whose worker kills itself (SIGKILL) once, at the instant that they are told."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from dag_names import DAG, task

from longcall.airflow import LongCallOperator
from longcall.airflow import operator as steps

INSTANTS = {
    "before the inbox": ("prepare", "before"),
    "inbox made, before the request": ("start", "before"),
    "request answered, before that is kept": ("start", "after"),
    "before the deferral": ("completion_trigger", "before"),
    "resumed, before the result is read": ("finish", "before"),
    "result read, before the task has ended": ("finish", "after"),
}


class DyingOperator(LongCallOperator):
    """Dies in its first try. The product knows nothing of this: the steps are replaced by ones that die."""

    template_fields = (*LongCallOperator.template_fields, "dies")

    def __init__(self, *, dies: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dies = dies

    def execute(self, context: Any) -> Any:
        self._arm(context)
        return super().execute(context)

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> Any:
        self._arm(context)
        return super().execute_complete(context, event)

    def _arm(self, context: Any) -> None:
        if context["ti"].try_number == 1:
            step, when = INSTANTS[self.dies]
            setattr(steps, step, dying(getattr(steps, step), when))


def dying(step: Callable[..., Any], when: str) -> Callable[..., Any]:
    @functools.wraps(step)
    def dies(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            step(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return dies


@task
def calls(dag_run: Any = None) -> list[dict[str, Any]]:
    """Return the arguments of as many calls as the run is told to make for each instant."""
    each = range(dag_run.conf["each"])
    return [
        {"dies": dies, "data": {"n": f"{dag_run.run_id}/{dies}/{n}", "work_s": 5}}
        for dies in INSTANTS
        for n in each
    ]


with DAG("dying"):
    DyingOperator.partial(
        task_id="call",
        endpoint="/counted",
        topic="reports",
        http_conn_id="service",
        retries=3,
        retry_delay=timedelta(seconds=0),
    ).expand_kwargs(calls())

with DAG("dies_for_good"):
    DyingOperator(
        task_id="call",
        endpoint="/forever",
        topic="reports",
        http_conn_id="service",
        dies="request answered, before that is kept",
    )
