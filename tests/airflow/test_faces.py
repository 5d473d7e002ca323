"""One DAG of each face in a real Airflow."""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.airflow.runs import call_of, run, state_at_the_service, succeed, wait_until

from longcall.cli.stack import LocalStack

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.mark.parametrize("mode", ["deferred", "blocking"])
def test_call_ends_the_same_in_the_triggerer_and_in_the_worker(
    stack: LocalStack, subscriptions: Subscriptions, mode: str
) -> None:
    dag_id = f"mode_{mode}"
    before = subscriptions.names() | {"tests-faces"}

    run_id, state = run(stack, dag_id)

    assert state == "failed"
    found = stack.airflow.task_instances(dag_id, run_id)
    assert {task.task_id: task.state for task in found} == {
        "succeeds": "success",
        "shared": "success",
        "fails": "failed",
        "times_out": "failed",
        "is_refused": "failed",
        "steps.create_subscription": "success",
        "steps.start_call": "success",
        "steps.wait_for_completion": "success",
        "steps.delete_subscription": "success",
    }
    expected = {"echo": {"n": 1, "delay_s": 2}, "task": "succeeds"}
    assert stack.airflow.xcom(dag_id, run_id, "succeeds") == expected
    for task_id, n in {"shared": 2, "steps.wait_for_completion": 3}.items():
        result: Any = stack.airflow.xcom(dag_id, run_id, task_id)
        assert result["echo"] == {"n": n, "delay_s": 1}
    for task_id, says in {
        "succeeds": "Progress: 1 of 1 echo about to answer",
        "fails": "Unknown model: there is no model 'gpt-0'",
        "times_out": "within the timeout",
        "is_refused": "response_check does not accept the answer 202",
    }.items():
        assert says in stack.airflow.task_log(dag_id, run_id, task_id)
    calls = [call_of(stack, dag_id, run_id, task_id) for task_id in ("times_out", "is_refused")]
    for call in calls:
        resource = f"{stack.service_url}/calls/{call['correlid']}"
        assert httpx2.get(resource, trust_env=False).json()["state"] == "cancelled"
    assert subscriptions.names() | {"tests-faces"} == before


def test_kill_of_a_task_that_waits_in_the_worker_cancels_the_work(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before = subscriptions.names()
    run_id = stack.airflow.trigger("blocking_forever")
    stack.airflow.wait_for_task("blocking_forever", run_id, "call", states=frozenset({"running"}))
    wait_until(
        lambda: "Waiting for the completion" in stack.airflow.task_log("blocking_forever", run_id, "call"),
        "the worker waits",
    )
    call = call_of(stack, "blocking_forever", run_id)

    stack.airflow.patch_task("blocking_forever", run_id, "call", new_state="failed")

    wait_until(lambda: state_at_the_service(call) == "cancelled", "the service has cancelled the call")
    wait_until(lambda: subscriptions.names() == before, "the inbox is deleted")


def _start(stack: LocalStack, path: str) -> str:
    """Start a call as a script may that has no inbox; return its status resource."""
    url = f"{stack.service_url}{path}?correlid=script-{secrets.token_hex(8)}"
    answer = httpx2.post(url, trust_env=False)
    return f"{stack.service_url}{httpx2.URL(answer.headers['location']).path}"


def test_sensor_waits_for_a_call_that_something_else_started(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before = subscriptions.names()
    calls = {
        "held": _start(stack, "/held"),
        "failed": _start(stack, "/fails-for-good"),
        "forever": _start(stack, "/forever"),
    }
    run_id = stack.airflow.trigger("sensors", dict(calls))
    stack.airflow.wait_for_task("sensors", run_id, "deferred", states=frozenset({"deferred"}))
    stack.airflow.wait_for_task("sensors", run_id, "reschedule", states=frozenset({"up_for_reschedule"}))
    stack.airflow.wait_for_task("sensors", run_id, "poke", states=frozenset({"running"}))

    _start(stack, "/release")
    stack.airflow.wait_for_run("sensors", run_id)

    states = {task.task_id: task.state for task in stack.airflow.task_instances("sensors", run_id)}
    assert states == {
        "deferred": "success",
        "poke": "success",
        "reschedule": "success",
        "failed": "failed",
        "failed_softly": "skipped",
        "too_late": "failed",
        # Airflow 3.0 forgets of a sensor that was deferred too long that it is to fail softly.
        "too_late_softly": "failed" if stack.airflow_version.startswith("3.0.") else "skipped",
        "too_late_poking": "skipped",
        "unknown": "failed",
    }
    for task_id in ("deferred", "poke", "reschedule"):
        assert stack.airflow.xcom("sensors", run_id, task_id) == "released"
    assert "there is no model 'gpt-0'" in stack.airflow.task_log("sensors", run_id, "failed")
    assert "404" in stack.airflow.task_log("sensors", run_id, "unknown")
    assert httpx2.get(calls["forever"], trust_env=False).json()["state"] == "running"
    assert subscriptions.names() == before


def test_decorated_function_returns_the_arguments_of_the_call(stack: LocalStack) -> None:
    run_id = succeed(stack, "decorated")

    results: Any = stack.airflow.xcom("decorated", run_id, "collect")
    *mapped, one = results
    expected = [{"n": n, "text": "echo", "run_id": run_id, "delay_s": 1} for n in (1, 2)]
    assert [result["echo"] for result in mapped] == expected
    assert one == {"n": 3, "text": "raw", "run_id": run_id, "delay_s": 1}
    assert stack.airflow.xcom("decorated", run_id, "echo", key="echo", map_index=1) == expected[1]


def test_pool_that_counts_deferred_tasks_limits_the_calls_at_once(stack: LocalStack) -> None:
    command = "pools set service_slots 2 calls-of-one-service --include-deferred"
    subprocess.run(
        stack.airflow_command(*command.split()),
        env=stack.environment,
        check=True,
        capture_output=True,
    )

    run_id = succeed(stack, "limited")

    at_once = [stack.airflow.xcom("limited", run_id, "call", map_index=n) for n in range(4)]
    assert max(map(int, map(str, at_once))) == 2


@pytest.mark.needs_airflow("3.0", "before, there are no asset watchers")
def test_completion_of_a_watched_service_is_an_event_of_its_asset(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    wait_until(subscriptions.is_watched, "the watcher has its subscription")
    for kind in ("heartbeat", "failed", "succeeded"):
        subscriptions.publish(
            "reports",
            b'{"title": "no result is shown"}',
            correlid=f"watched-{kind}",
            **{
                "ce-type": f"longcall.call.{kind}.v1",
                "ce-id": f"watched-{kind}/1/1",
                "ce-source": "/services/watched",
                "ce-specversion": "1.0",
                "content-type": "application/json",
            },
        )

    wait_until(lambda: bool(stack.airflow.run_ids("on_completion")), "the asset has its event")
    (run_id,) = stack.airflow.run_ids("on_completion")
    assert stack.airflow.wait_for_run("on_completion", run_id).state == "success"
    payloads: Any = stack.airflow.xcom("on_completion", run_id, "payloads")
    assert [(p["correlid"], p["state"], p["service"]) for p in payloads] == [
        ("watched-succeeded", "succeeded", "/services/watched")
    ]
    assert "no result" not in str(payloads)
