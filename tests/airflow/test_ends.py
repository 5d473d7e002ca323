"""Every way in which a task can end before its call: the work is cancelled, once, and no inbox is left."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import pytest
from tests.airflow.runs import (
    batched,
    call_of,
    calls_at_the_service,
    state_at_the_service,
    succeed,
    wait_until,
)

from longcall.cli.stack import LocalStack
from longcall.cli.stack.guard import descendants_of, processes

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

Act: TypeAlias = Callable[[LocalStack, str, str, str], None]
Count: TypeAlias = Callable[[], Counter[str]]
CALL, WAIT = "call", "steps.wait_for_completion"


def mark_task(state: str) -> Act:
    return lambda stack, dag_id, run_id, task_id: stack.airflow.patch_task(
        dag_id, run_id, task_id, new_state=state
    )


def fail_run(stack: LocalStack, dag_id: str, run_id: str, _task_id: str) -> None:
    stack.airflow.patch_run(dag_id, run_id, state="failed")


def clear(stack: LocalStack, dag_id: str, run_id: str, task_id: str) -> None:
    """Clear the task, with the others of its group, and fail it when it waits for its next call."""
    old = call_of(stack, dag_id, run_id, task_id)["correlid"]
    tasks = [task.task_id for task in stack.airflow.task_instances(dag_id, run_id)]
    stack.airflow.clear_tasks(dag_id, run_id, tasks)
    wait_until(lambda: is_deferred(stack, dag_id, run_id, task_id, but=old), "it waits for a new call")
    stack.airflow.patch_task(dag_id, run_id, task_id, new_state="failed")


def wait_for_the_end(stack: LocalStack, dag_id: str, run_id: str, _task_id: str) -> None:
    stack.airflow.wait_for_run(dag_id, run_id, timeout_s=300)


WAYS = {
    "marked failed": ("forever", CALL, mark_task("failed")),
    "marked successful": ("forever", CALL, mark_task("success")),
    "cleared": ("forever", CALL, clear),
    "DAG run marked failed": ("forever", CALL, fail_run),
    "timeout": ("times_out", CALL, wait_for_the_end),
    "execution_timeout": ("exceeds_execution_timeout", CALL, wait_for_the_end),
    "heartbeat_timeout": ("falls_silent", CALL, wait_for_the_end),
    "steps, wait marked failed": ("forever_in_steps", WAIT, mark_task("failed")),
    "steps, cleared": ("forever_in_steps", WAIT, clear),
    "steps, DAG run marked failed": ("forever_in_steps", WAIT, fail_run),
    "steps, timeout": ("times_out_in_steps", WAIT, wait_for_the_end),
}
CALLS = {"cleared": 2, "steps, cleared": 2}
"""How many calls there were, where it is not one."""


def is_deferred(stack: LocalStack, dag_id: str, run_id: str, task_id: str, *, but: str = "") -> bool:
    """Tell whether the task waits in the triggerer, for another call than `but`."""
    tasks = {task.task_id: task for task in stack.airflow.task_instances(dag_id, run_id)}
    if task_id not in tasks or tasks[task_id].state != "deferred":
        return False
    correlid = call_of(stack, dag_id, run_id, task_id)["correlid"]
    log = stack.airflow.task_log(dag_id, run_id, task_id, try_number=tasks[task_id].try_number)
    return correlid != but and f"Waiting for the completion of call {correlid}" in log


def end(stack: LocalStack, dag_id: str, task_id: str, act: Act, run_id: str) -> None:
    """End the task when it waits for its call."""
    if act is not wait_for_the_end:
        wait_until(lambda: is_deferred(stack, dag_id, run_id, task_id), f"{dag_id} waits")
    act(stack, dag_id, run_id, task_id)


def test_every_way_to_end_cancels_the_call_once_and_leaves_no_inbox(
    stack: LocalStack, subscriptions: Subscriptions, cancellations: Count
) -> None:
    before, known, asked = (
        subscriptions.names(),
        set(calls_at_the_service(stack, "/forever")),
        cancellations(),
    )
    runs: dict[str, str] = {}

    for ways in batched(WAYS, 4):  # as many at once as there are workers
        runs |= {way: stack.airflow.trigger(WAYS[way][0]) for way in ways}
        for way in ways:
            end(stack, *WAYS[way], runs[way])
    for way, (dag_id, _, _) in WAYS.items():
        stack.airflow.wait_for_run(dag_id, runs[way], timeout_s=300)
    wait_until(lambda: subscriptions.names() == before, "all inboxes are deleted")
    calls = {
        correlid: state
        for correlid, state in calls_at_the_service(stack, "/forever").items()
        if correlid not in known
    }
    assert len(calls) == sum(CALLS.get(way, 1) for way in WAYS)
    assert set(calls.values()) == {"cancelled"}
    new = cancellations() - asked
    assert {correlid: new[correlid] for correlid in calls} == dict.fromkeys(calls, 1)
    assert "within the timeout" in stack.airflow.task_log("times_out", runs["timeout"], CALL)


@pytest.fixture
def start_second_triggerer(stack: LocalStack) -> Iterator[Callable[[], None]]:
    """Starts another triggerer; afterwards it is gone."""

    def start() -> None:
        command = stack.airflow_command("triggerer", "--skip-serve-logs")
        stack.start_component("second-triggerer", *command)
        log = stack.logs_dir / "second-triggerer.log"
        wait_until(lambda: "Starting the triggerer" in log.read_text(), "the second triggerer works")

    yield start
    stack.kill_component("second-triggerer")


def test_trigger_that_moves_to_another_triggerer_leaves_the_call_alone(
    stack: LocalStack,
    subscriptions: Subscriptions,
    cancellations: Count,
    start_second_triggerer: Callable[[], None],
) -> None:
    """The first stands still; when it goes on, Airflow tells its trigger what it tells one that is killed."""
    before = subscriptions.names()
    run_id = stack.airflow.trigger("forever")
    wait_until(lambda: is_deferred(stack, "forever", run_id, CALL), "it waits")
    call = call_of(stack, "forever", run_id)
    waits = f"Waiting for the completion of call {call['correlid']}"

    def log() -> str:
        return stack.airflow.task_log("forever", run_id, CALL)

    start_second_triggerer()
    with standing_still(stack, "triggerer"):
        wait_until(lambda: log().count(waits) == 2, "the second has taken over")
    wait_until(lambda: "has moved to another triggerer" in log(), "the first learns of it")

    assert state_at_the_service(call) in {"accepted", "running"}
    assert call["correlid"] in subscriptions.names()
    assert call["correlid"] not in cancellations()
    stack.airflow.patch_task("forever", run_id, CALL, new_state="failed")
    wait_until(lambda: state_at_the_service(call) == "cancelled", "the call is cancelled")
    wait_until(lambda: subscriptions.names() == before, "the inbox is deleted")
    assert cancellations()[call["correlid"]] == 1


@contextmanager
def standing_still(stack: LocalStack, name: str) -> Iterator[None]:
    """Let a component stand still."""
    pids = descendants_of(stack.components[name].pid, processes())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def killed(stack: LocalStack, name: str) -> Iterator[None]:
    """Do without a component."""
    stack.kill_component(name)
    try:
        yield
    finally:
        stack.restart_component(name)


def test_sweep_ends_the_calls_that_nobody_was_there_to_end(
    stack: LocalStack, subscriptions: Subscriptions, cancellations: Count
) -> None:
    """A user ended two while no triggerer ran; the worker of one was lost in its last try; two are awaited.

    One of each has no inbox of its own to be found by: it is in the service's list.
    """
    dags = {"awaited": "forever", "ended": "forever", "died": "dies_for_good"}
    dags |= {"awaited in common": "forever_shared", "ended in common": "forever_shared"}
    before = subscriptions.names() | {"tests-shared"}
    runs = {name: stack.airflow.trigger(dag_id) for name, dag_id in dags.items()}
    for name in dags.keys() - {"died"}:
        wait_until(lambda: is_deferred(stack, dags[name], runs[name], CALL), "it waits")  # noqa: B023 # at once
    calls = {name: call_of(stack, dags[name], runs[name])["correlid"] for name in dags}
    with killed(stack, "triggerer"):
        for name in ("ended", "ended in common"):
            stack.airflow.patch_task(dags[name], runs[name], CALL, new_state="failed")
        assert stack.airflow.wait_for_run("dies_for_good", runs["died"]).state == "failed"
        assert subscriptions.names() - before == {calls[name] for name in ("awaited", "ended", "died")}
        swept = stack.airflow.xcom("sweep", succeed(stack, "sweep"), "sweep")

    assert isinstance(swept, dict)
    over, awaited = ("ended", "ended in common", "died"), ("awaited", "awaited in common")
    assert set(swept["swept"]) == {calls[name] for name in over}
    assert (swept["awaited"], swept["left"], swept["not_asked"]) == (2, [], [])
    assert subscriptions.names() - before == {calls["awaited"]}
    assert [cancellations()[calls[name]] for name in (*over, *awaited)] == [1, 1, 1, 0, 0]
    for name in awaited:
        waits = f"Waiting for the completion of call {calls[name]}"
        wait_until(
            lambda: stack.airflow.task_log(dags[name], runs[name], CALL).count(waits) == 2,  # noqa: B023
            "the new triggerer waits",
        )
        stack.airflow.patch_task(dags[name], runs[name], CALL, new_state="failed")
        wait_until(lambda: cancellations()[calls[name]] == 1, "the triggerer ends the last ones")  # noqa: B023
    wait_until(lambda: subscriptions.names() - before == set(), "no inbox is left")
