"""DAG runs of the stack, and what the tests ask about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx2
import pytest

from longcall.cli.stack import LocalStack
from longcall.contract import JsonValue

__all__ = [
    "batched",
    "call_of",
    "calls_at_the_service",
    "check_success",
    "run",
    "started",
    "state_at_the_service",
    "succeed",
    "tries",
    "wait_until",
]


def batched(all_of_them: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = list(all_of_them)
    while rest:
        yield rest[:size]
        rest = rest[size:]


def run(stack: LocalStack, dag_id: str, conf: dict[str, JsonValue] | None = None) -> tuple[str, str]:
    """Run the DAG to its end; return the run's id and state."""
    run_id = stack.airflow.trigger(dag_id, conf)
    return run_id, stack.airflow.wait_for_run(dag_id, run_id, timeout_s=3000).state


def succeed(stack: LocalStack, dag_id: str, conf: dict[str, JsonValue] | None = None) -> str:
    """Run the DAG; if it fails, fail with the log of what did."""
    run_id = stack.airflow.trigger(dag_id, conf)
    check_success(stack, dag_id, run_id)
    return run_id


def check_success(stack: LocalStack, dag_id: str, run_id: str) -> None:
    """Wait for the run's end; if it fails, fail with the log of what did."""
    state = stack.airflow.wait_for_run(dag_id, run_id, timeout_s=3000).state
    if state != "success":
        failed = [task for task in stack.airflow.task_instances(dag_id, run_id) if task.state == "failed"]
        logs = [
            stack.airflow.task_log(
                dag_id, run_id, task.task_id, try_number=task.try_number, map_index=task.map_index
            )
            for task in failed[:2]
        ]
        pytest.fail("\n\n".join([f"{dag_id} ended {state}", *logs]))


def tries(stack: LocalStack, dag_id: str, run_id: str) -> dict[str, int]:
    return {task.task_id: task.try_number for task in stack.airflow.task_instances(dag_id, run_id)}


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 180.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.1)


def call_of(stack: LocalStack, dag_id: str, run_id: str, task_id: str = "call") -> dict[str, Any]:
    call = stack.airflow.xcom(dag_id, run_id, task_id, key="longcall_call")
    assert isinstance(call, dict)
    return call


def state_at_the_service(call: dict[str, Any]) -> str:
    return str(httpx2.get(call["location"], trust_env=False).json()["state"])


def started(stack: LocalStack) -> int:
    """Return how many calls of `/counted` the service knows."""
    return len(calls_at_the_service(stack, "/counted"))


def calls_at_the_service(stack: LocalStack, handler: str) -> dict[str, str]:
    """Return the states of a handler's calls by their ids."""
    wanted, calls = {"handler": handler, "page_size": "1000"}, dict[str, str]()
    while True:
        page = httpx2.get(f"{stack.service_url}/calls", params=wanted, trust_env=False).json()
        calls |= {call["correlid"]: call["state"] for call in page["calls"]}
        if "next_page_token" not in page:
            return calls
        wanted["page_token"] = page["next_page_token"]
