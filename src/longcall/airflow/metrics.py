"""What a deployment's metrics say of its calls: `longcall.*`, sent where Airflow's own go (`[metrics]`).

Names hold no DAG and no task, so that their number is bounded; `dag_id` and `task_id` are tags, for backends
that know tags.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal, Protocol, TypeAlias

from longcall.airflow.version_compat import Stats

__all__ = [
    "METRICS",
    "Ended",
    "NamedTask",
    "count_cancel_request",
    "count_ended",
    "count_reconciled",
    "count_set_aside",
    "count_started",
    "gauge_waits",
]


class NamedTask(Protocol):
    """What names a task; each version's task instance does."""

    dag_id: str
    task_id: str


Ended: TypeAlias = Literal["succeeded", "failed", "cancelled", "timed_out", "lost"]
"""How a call ended, as far as its task is concerned."""

METRICS: Final[dict[str, str]] = {
    "longcall.calls.started": "counter: the service has accepted a call",
    "longcall.calls.accept_duration": "timer: from the request to that answer",
    "longcall.calls.succeeded": "counter: ended with a result",
    "longcall.calls.failed": "counter: the service reported a failure",
    "longcall.calls.cancelled": "counter: ended as cancelled",
    "longcall.calls.timed_out": "counter: `timeout` or `heartbeat_timeout` has passed",
    "longcall.calls.lost": "counter: the wait could not go on: the inbox is gone or may not be read",
    "longcall.calls.duration": "timer: from the request to the task that has the result or the error",
    "longcall.calls.cancel_requests": "counter: the service was asked to cancel",
    "longcall.calls.reconciled": "counter: a completion was found at the status resource: its report is lost",
    "longcall.completions.set_aside": "counter: claimed by no task, moved or left",
    "longcall.waits.open": "gauge: calls that this triggerer waits for",
}
"""Every name, with its kind and its meaning."""


def count_started(task: NamedTask, *, accepted_ms: int) -> None:
    """Count a call that its service has accepted."""
    Stats.incr("longcall.calls.started", tags=_tags(task))
    Stats.timing("longcall.calls.accept_duration", timedelta(milliseconds=accepted_ms), tags=_tags(task))


def count_ended(task: NamedTask, how: Ended, *, duration_s: float | None) -> None:
    """Count a call whose task knows how it ended; `duration_s`: since the request, None: not known."""
    Stats.incr(f"longcall.calls.{how}", tags=_tags(task))
    if duration_s is not None:
        Stats.timing("longcall.calls.duration", timedelta(seconds=duration_s), tags=_tags(task))


def count_cancel_request() -> None:
    """Count a request to a service to stop a call."""
    Stats.incr("longcall.calls.cancel_requests")


def count_reconciled() -> None:
    """Count a completion that was found at the status resource."""
    Stats.incr("longcall.calls.reconciled")


def count_set_aside() -> None:
    """Count a completion that nobody claims."""
    Stats.incr("longcall.completions.set_aside")


def gauge_waits(number: int) -> None:
    """Say how many calls this process waits for."""
    Stats.gauge("longcall.waits.open", number)


def _tags(task: NamedTask) -> dict[str, str]:
    return {"dag_id": task.dag_id, "task_id": task.task_id}
