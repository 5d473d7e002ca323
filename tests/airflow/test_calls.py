"""Whole calls through a real Airflow: answers, failures, kills, and what they leave behind."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from google.api_core.exceptions import InvalidArgument
from tests.airflow.runs import call_of, run, state_at_the_service, succeed, tries, wait_until

from longcall.cli.stack import LocalStack
from longcall.contract import Message, SigningKey, sign

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

# A hundred tasks start and resume on two cores; whatever hangs is ended by this.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("dag_id", "number", "left"),
    [("hundred_per_call", 100, set()), ("forty_shared", 40, {"tests-shared"})],
)
def test_many_calls_at_once_each_get_their_own_answer(
    stack: LocalStack, subscriptions: Subscriptions, dag_id: str, number: int, left: set[str]
) -> None:
    """The service answers nobody before all calls are there; Airflow has four worker slots."""
    before = subscriptions.names()

    run_id = succeed(stack, dag_id)

    results = stack.airflow.xcom(dag_id, run_id, "collect")
    assert isinstance(results, list)
    assert [result["n"] for result in results] == list(range(number))
    calls = [
        stack.airflow.xcom(dag_id, run_id, "call", key="longcall_call", map_index=n) for n in range(number)
    ]
    assert [result["correlid"] for result in results] == [call["correlid"] for call in calls]
    assert len({result["correlid"] for result in results}) == number
    assert subscriptions.names() - before == left


@pytest.mark.usefixtures("article_service")
def test_the_articles_bare_service_is_a_full_citizen(stack: LocalStack) -> None:
    run_id = succeed(stack, "bare_service")

    assert stack.airflow.xcom("bare_service", run_id, "call") == "Work Done!"


def test_the_articles_stock_operators_call_a_longcall_service(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before = subscriptions.names()

    run_id = succeed(stack, "article")

    received = stack.airflow.xcom("article", run_id, "WaitForCompletion")
    assert isinstance(received, list)
    assert len(received) == 1
    assert received[0]["message"]["attributes"]["correlid"].startswith("airflow-test-")
    assert subscriptions.names() == before


@pytest.fixture(scope="module")
def four_steps_run(stack: LocalStack) -> str:
    return succeed(stack, "four_steps")


@pytest.mark.oldest
def test_four_visible_steps_answer_and_clean_up(
    stack: LocalStack, subscriptions: Subscriptions, four_steps_run: str
) -> None:
    results = stack.airflow.xcom("four_steps", four_steps_run, "collect")
    assert results[0]["echo"]["n"] == 7
    call = call_of(stack, "four_steps", four_steps_run, "steps.wait_for_completion")
    assert call["inbox"].rpartition("/")[2] not in subscriptions.names()
    assert (call["state"], call["attempt"], call["service"]) == ("succeeded", 1, "/services/tests")
    assert call["started_time"] < call["ended_time"]


@pytest.mark.needs_airflow("3.3", "without tracing, older ones keep no trace context for a task")
def test_one_trace_leads_to_the_service_and_back(stack: LocalStack, four_steps_run: str) -> None:
    call = call_of(stack, "four_steps", four_steps_run, "steps.wait_for_completion")
    key = f"longcall_completion.{call['correlid']}"
    completion = stack.airflow.xcom("four_steps", four_steps_run, "steps.wait_for_completion", key=key)
    assert isinstance(completion, dict)
    assert trace_of(completion["attributes"]["traceparent"]) == trace_of(call["traceparent"])


def test_call_has_a_topic_of_its_own_which_goes_with_it_on_every_path(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before, topics = subscriptions.names(), subscriptions.topics()

    run_id, _ = run(stack, "own_topic")

    results = stack.airflow.xcom("own_topic", run_id, "collect")
    assert [result["echo"] for result in results] == [{"delay_s": 1}] * 2
    call = call_of(stack, "own_topic", run_id)
    assert call["own_topic"] == f"projects/tests/topics/{call['correlid']}"
    log = stack.airflow.task_log("own_topic", run_id, "failing.wait_for_completion")
    assert "there is no model 'gpt-0'" in log
    assert (subscriptions.names(), subscriptions.topics()) == (before, topics)


def test_result_that_lies_elsewhere_is_fetched_by_the_worker_from_where_the_task_allows(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before = subscriptions.names()

    run_id, _ = run(stack, "result_elsewhere")

    assert stack.airflow.xcom("result_elsewhere", run_id, "allowed") == {"rows": 12}
    assert tries(stack, "result_elsewhere", run_id) == {"allowed": 1, "not_allowed": 1, "too_large": 1}
    for task_id, says in (("not_allowed", "result_prefixes"), ("too_large", "max_result_bytes")):
        assert says in stack.airflow.task_log("result_elsewhere", run_id, task_id)
    assert subscriptions.names() == before


def test_four_visible_steps_clean_up_after_a_failure(stack: LocalStack, subscriptions: Subscriptions) -> None:
    before = subscriptions.names()

    run_id, state = run(stack, "four_steps_failing")

    assert state == "failed"
    states = {task.task_id: task.state for task in stack.airflow.task_instances("four_steps_failing", run_id)}
    assert states["steps.wait_for_completion"] == "failed"
    assert states["steps.delete_subscription"] == "success"
    assert subscriptions.names() == before


def test_service_that_raises_fails_the_task_with_its_own_words_after_the_retries(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before = subscriptions.names()

    run_id, state = run(stack, "service_fails")

    assert state == "failed"
    assert tries(stack, "service_fails", run_id) == {"call": 3}
    assert "the disk of node 7 is full" in stack.airflow.task_log(
        "service_fails", run_id, "call", try_number=3
    )
    assert subscriptions.names() == before


@pytest.mark.oldest
def test_failure_that_is_not_retryable_fails_at_once(stack: LocalStack) -> None:
    run_id, state = run(stack, "service_fails_for_good")

    assert state == "failed"
    assert tries(stack, "service_fails_for_good", run_id) == {"call": 1}
    log = stack.airflow.task_log("service_fails_for_good", run_id, "call")
    assert "Unknown model: there is no model 'gpt-0'" in log


def trace_of(traceparent: str) -> str:
    """Return the trace's id, from W3C Trace Context."""
    found = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", traceparent)
    assert found is not None, traceparent
    return found[1]


@pytest.fixture(scope="module")
def bad_input_run(stack: LocalStack) -> str:
    run_id, state = run(stack, "bad_input")
    assert state == "failed"
    return run_id


@pytest.mark.parametrize(
    ("task_id", "says"),
    [
        ("missing_topic", r"no-such-topic.*(create|administrator)"),
        ("bad_topic_name", r"topic: 'no such topic' is not a Pub/Sub name"),
        ("missing_connection", r"no_such_connection.*airflow connections add"),
        ("bad_url", r"http_conn_id.*bad_url"),
        ("missing_path", r"404.*no-such-path"),
        ("bad_payload", r"data: not JSON"),
        ("bad_policy", r"inbox_policy: 'per_week' is none of"),
        ("shared_without_name", r"inbox: .*needs a name"),
    ],
)
def test_bad_input_fails_at_once_and_names_field_and_remedy(
    stack: LocalStack, bad_input_run: str, task_id: str, says: str
) -> None:
    assert tries(stack, "bad_input", bad_input_run)[task_id] == 1
    assert re.search(
        says, stack.airflow.task_log("bad_input", bad_input_run, task_id), re.IGNORECASE | re.DOTALL
    )


def test_bad_input_leaves_no_inbox(subscriptions: Subscriptions, bad_input_run: str) -> None:
    assert not {name for name in subscriptions.names() if name.startswith("lc-")}


def test_no_result_is_in_a_triggerer_log(stack: LocalStack) -> None:
    run_id = succeed(stack, "secret_result")

    secret = stack.airflow.xcom("secret_result", run_id, "call")
    assert isinstance(secret, str)
    logs = [
        stack.logs_dir / "triggerer.log",
        *(stack.home / "airflow" / "task-logs").rglob("*.trigger.*.log"),
    ]
    assert len(logs) > 1
    assert not [log.name for log in logs if secret in log.read_text()]


@pytest.mark.airflow_defect("3.2", "`dags test` does not wait until the API that it starts has started")
@pytest.mark.parametrize("dag_id", ["four_steps", pytest.param("at_once", marks=pytest.mark.oldest)])
def test_call_works_in_airflow_dags_test(
    stack: LocalStack, subscriptions: Subscriptions, dag_id: str, tmp_path: Path
) -> None:
    """In a database of its own, where no scheduler and no triggerer look."""
    before = subscriptions.names()
    shutil.copy(stack.home / "airflow" / "airflow.db", tmp_path)
    # The copy says that the original's triggerer lives, and so would wait for it.
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as copy, copy:
        copy.execute("DELETE FROM job WHERE job_type = 'TriggererJob'")
    database = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}"}

    command = stack.airflow_command("dags", "test", dag_id)
    done = subprocess.run(
        command, env=stack.environment | database, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "state=success" in done.stdout + done.stderr
    assert subscriptions.names() == before


@pytest.mark.parametrize("is_lost", [False, True])
def test_triggerer_killed_while_waiting_loses_nothing(
    stack: LocalStack, subscriptions: Subscriptions, is_lost: bool
) -> None:
    """The completion comes while no triggerer runs; the next one finds it, at the service if need be."""
    before = subscriptions.names()
    run_id = stack.airflow.trigger("released")
    stack.airflow.wait_for_task("released", run_id, "call", states=frozenset({"deferred"}))
    call = call_of(stack, "released", run_id)
    wait_until(lambda: state_at_the_service(call) == "running", "the service works")

    stack.kill_component("triggerer")
    released = httpx2.post(
        f"{stack.service_url}/release?correlid=release-{call['correlid']}", trust_env=False
    )
    assert released.status_code == 202
    wait_until(lambda: state_at_the_service(call) == "succeeded", "the service has published")
    if is_lost:
        subscriptions.empty(call["inbox"])
    stack.restart_component("triggerer")

    assert stack.airflow.wait_for_run("released", run_id).state == "success"
    assert stack.airflow.xcom("released", run_id, "call") == "released"
    assert subscriptions.names() == before


def hostile_reports(correlid: str) -> list[dict[str, str]]:
    """What somebody might publish who knows the id: the attributes of each report; seven are well made."""
    succeeded = {
        "correlid": correlid,
        "ce-type": "longcall.call.succeeded.v1",
        "ce-source": "/services/tests",
    }
    signed_by_another = sign(Message(data=b"forged", attributes=succeeded), [SigningKey.new()]).attributes
    return [
        {"correlid": correlid},
        succeeded | {"ce-id": f"{correlid}/1/2"},
        succeeded | {"ce-id": f"{correlid}/1/2"},
        succeeded | {"ce-attempt": "0"},
        succeeded | {"ce-attempt": "99"},
        succeeded | {"ce-dataref": "file:///etc/passwd"},
        dict(signed_by_another),
        succeeded | {"ce-attempt": "first"},
        succeeded | {"ce-dataref": ""},
        {"correlid": correlid, "ce-type": "longcall.call.failed.v1"},
        {"correlid": correlid, "ce-type": "longcall.call.exploded.v9"},
        {"correlid": "nobody-waits-for-this"},
        {"ce-type": "longcall.call.succeeded.v1"},
    ]


@pytest.mark.oldest
def test_hostile_reports_resume_nobody(stack: LocalStack, subscriptions: Subscriptions) -> None:
    """Somebody who may publish on the topic, and knows the id, cannot speak for the service."""
    before = subscriptions.names()
    run_id = stack.airflow.trigger("released")
    stack.airflow.wait_for_task("released", run_id, "call", states=frozenset({"deferred"}))
    call = call_of(stack, "released", run_id)
    wait_until(lambda: state_at_the_service(call) == "running", "the service works")

    assert stack.airflow.task_links("released", run_id, "call") == {"Call": call["location"]}
    for attributes in hostile_reports(call["correlid"]):
        subscriptions.publish("reports", b"forged", **attributes)
    with pytest.raises(InvalidArgument):
        subscriptions.publish("reports", bytes(10_000_001), correlid=call["correlid"])
    wait_until(
        lambda: stack.airflow.task_log("released", run_id, "call").count("did not sign") == 7,
        "the forged completions are left out, each once",
    )
    httpx2.post(f"{stack.service_url}/release?correlid=release-{call['correlid']}", trust_env=False)

    assert stack.airflow.wait_for_run("released", run_id).state == "success"
    assert stack.airflow.xcom("released", run_id, "call") == "released"
    assert subscriptions.names() == before
    assert "whsec_" not in str(call)
    assert "left out on the way: 7 unsigned" in stack.airflow.task_log("released", run_id, "call")
