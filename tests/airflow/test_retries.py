"""When Airflow runs a task again: which call the new try means, and what becomes of the old one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.airflow.runs import call_of, state_at_the_service, succeed, tries, wait_until

from longcall.cli.stack import LocalStack

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


def deferred_call(stack: LocalStack, dag_id: str, run_id: str, *, but: str = "") -> dict[str, Any]:
    """Wait until the task is deferred for a call other than `but`; return the call."""

    def is_there() -> bool:
        (task,) = stack.airflow.task_instances(dag_id, run_id)
        return task.state == "deferred" and call_of(stack, dag_id, run_id)["correlid"] != but

    wait_until(is_there, "the task waits for its call")
    return call_of(stack, dag_id, run_id)


def wait_until_taken_up(
    stack: LocalStack, dag_id: str, run_id: str, call: dict[str, Any], *, try_number: int = 1
) -> None:
    """Wait until a triggerer waits for the call: nobody else can cancel it on older Airflows."""
    waits = f"Waiting for the completion of call {call['correlid']}"
    wait_until(
        lambda: waits in stack.airflow.task_log(dag_id, run_id, "call", try_number=try_number), "it waits"
    )


def test_retry_after_a_failure_is_a_new_call(stack: LocalStack, subscriptions: Subscriptions) -> None:
    before = subscriptions.names()
    run_id = succeed(stack, "fails_once")
    assert tries(stack, "fails_once", run_id) == {"call": 2}
    assert call_of(stack, "fails_once", run_id)["number"] == 2
    assert subscriptions.names() == before


@pytest.mark.parametrize(
    "has_triggerer",
    [
        True,
        pytest.param(
            False,
            marks=pytest.mark.needs_airflow("3.3", "a later try knows nothing of the call of a cleared one"),
        ),
    ],
)
def test_cleared_task_cancels_its_call_and_starts_another(
    stack: LocalStack, subscriptions: Subscriptions, has_triggerer: bool
) -> None:
    before = subscriptions.names()
    run_id = stack.airflow.trigger("forever")
    old = deferred_call(stack, "forever", run_id)
    wait_until_taken_up(stack, "forever", run_id, old)
    if not has_triggerer:
        stack.kill_component("triggerer")

    stack.airflow.clear_tasks("forever", run_id, ["call"])
    new = deferred_call(stack, "forever", run_id, but=old["correlid"])

    wait_until(lambda: state_at_the_service(old) == "cancelled", "the old call is cancelled")
    wait_until(lambda: old["correlid"] not in subscriptions.names(), "the old inbox is deleted")
    assert state_at_the_service(new) in {"accepted", "running"}
    if not has_triggerer:
        stack.restart_component("triggerer")
    wait_until_taken_up(stack, "forever", run_id, new, try_number=2)
    stack.airflow.patch_task("forever", run_id, "call", new_state="failed")
    wait_until(lambda: subscriptions.names() == before, "the new inbox is deleted")


def test_task_that_is_cleared_after_its_success_starts_afresh(stack: LocalStack) -> None:
    run_id = succeed(stack, "secret_result")
    first = stack.airflow.xcom("secret_result", run_id, "call")

    stack.airflow.clear_tasks("secret_result", run_id, ["call"])

    assert stack.airflow.wait_for_run("secret_result", run_id).state == "success"
    assert stack.airflow.xcom("secret_result", run_id, "call") != first


def test_completion_of_a_cleared_call_resumes_nobody_and_is_told_of(
    stack: LocalStack,
    subscriptions: Subscriptions,
    cancellations: Callable[[], Counter[str]],
    paused_folder: Path,
) -> None:
    """It arrives, and before Airflow hears of it a user clears the task."""
    before = subscriptions.names()
    run_id = stack.airflow.trigger("paused", {"pauses": ["stored, before the event"]})
    wait_until((paused_folder / f"{run_id}-0").exists, "the completion has arrived")
    old = stack.airflow.xcom("paused", run_id, "call", key="longcall_call", map_index=0)
    assert isinstance(old, dict)

    stack.airflow.clear_tasks("paused", run_id, ["call"])
    (paused_folder / "turn").unlink()

    assert stack.airflow.wait_for_run("paused", run_id).state == "success"
    result = stack.airflow.xcom("paused", run_id, "call", map_index=0)
    new = stack.airflow.xcom("paused", run_id, "call", key="longcall_call", map_index=0)
    assert isinstance(result, dict)
    assert isinstance(new, dict)
    assert result["correlid"] == new["correlid"] != old["correlid"]
    assert "came too late: it resumes nobody" in stack.airflow.task_log("paused", run_id, "call", map_index=0)
    assert cancellations()[str(old["correlid"])] == 0
    assert subscriptions.names() == before
