"""Every face takes its arguments in each way that Airflow has: at once, mapped, from defaults, serialised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from airflow.serialization import serialized_objects

from longcall.airflow import (
    CreateInboxOperator,
    LongCallOperator,
    LongCallSensor,
    LongCallTaskGroup,
    StartCallOperator,
    WaitForCompletionOperator,
)
from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments, with_context
from longcall.airflow.status_trigger import StatusTrigger
from longcall.airflow.version_compat import AirflowException
from longcall.contract import ContractError

# Before Airflow 3.3 by another name.
SERIALIZATION: Any = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG

INBOX: dict[str, Any] = {
    "topic": "reports",
    "longcall_conn_id": "longcall",
    "gcp_conn_id": "google",
    "impersonation_chain": ["a@project.iam.gserviceaccount.com"],
    "project_id": "a-project",
    "inbox_policy": "shared",
    "inbox": "answers",
}
START: dict[str, Any] = {
    "endpoint": "/train",
    "http_conn_id": "service",
    "method": "PUT",
    "data": {"n": 1},
    "headers": {"X-Team": "data"},
    "query": {"model": "small"},
    "response_check": bool,
    "start_attempts": 2,
    "start_retry_max": timedelta(seconds=3),
    "timeout": timedelta(hours=1),
    "heartbeat_timeout": timedelta(minutes=5),
    "signing": "required",
}
RESULT: dict[str, Any] = {
    "deferrable": False,
    "result_handler": str,
    "result_prefixes": ["gs://bucket/results"],
    "max_result_bytes": 1000,
}
CALL: dict[str, Any] = {"call": {"correlid": "lc-1"}}
FACES: list[tuple[Any, dict[str, Any]]] = [
    (LongCallOperator, INBOX | START | RESULT),
    (CreateInboxOperator, INBOX),
    (StartCallOperator, START | CALL),
    (WaitForCompletionOperator, CALL | RESULT),
]


CONTEXT: Any = {"ds": "2026-01-31"}


def _dag(**options: Any) -> DAG:
    return DAG("faces", schedule=None, start_date=datetime(2026, 1, 31, tzinfo=UTC), **options)


def _kept(task: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(task, name) for name in arguments}


def test_these_are_all_arguments_there_are() -> None:
    for part, expected in ((InboxArguments, INBOX), (StartArguments, START), (ResultArguments, RESULT)):
        named = set(part.__init__.__annotations__) - {"kwargs", "return"}
        assert named == set(expected)


@pytest.mark.parametrize(("face", "arguments"), FACES)
def test_face_keeps_its_arguments(face: Any, arguments: dict[str, Any]) -> None:
    assert _kept(face(task_id="call", **arguments), arguments) == arguments


@pytest.mark.parametrize(("face", "arguments"), FACES)
def test_face_takes_default_arguments(face: Any, arguments: dict[str, Any]) -> None:
    with _dag(default_args=arguments):
        task = face(task_id="call")
    assert _kept(task, arguments) == arguments


@pytest.mark.parametrize(("face", "arguments"), FACES)
def test_face_is_mapped_over_any_argument(face: Any, arguments: dict[str, Any]) -> None:
    for name, value in arguments.items():
        others = {other: arguments[other] for other in arguments if other != name}
        with _dag():
            task = face.partial(task_id="call", **others).expand(**{name: [value]})
        assert _kept(task.unmap({**task.partial_kwargs, name: value}), arguments) == arguments


@pytest.mark.parametrize(("face", "arguments"), FACES)
def test_templated_fields_survive_serialisation(face: Any, arguments: dict[str, Any]) -> None:
    with _dag() as dag:
        face(task_id="call", **arguments)
        ((name, value), *others) = arguments.items()
        face.partial(task_id="mapped", **dict(others)).expand(**{name: [value]})
    restored = SERIALIZATION.from_dict(SERIALIZATION.to_dict(dag))
    fields = {name: value for name, value in arguments.items() if name in face.template_fields}
    assert fields
    assert _kept(restored.task_dict["call"], fields) == fields
    partial_kwargs = restored.task_dict["mapped"].partial_kwargs
    assert {other: partial_kwargs[other] for other in fields if other != name} | {name: value} == fields


@pytest.mark.parametrize(
    "make",
    [partial(LongCallOperator, task_id="call"), partial(LongCallTaskGroup, "steps")],
)
def test_argument_that_no_face_has_is_refused(make: Any) -> None:
    # Airflow 3 says so with a TypeError, Airflow 2 with an error of its own.
    with _dag(), pytest.raises((TypeError, AirflowException), match="topics"):
        make(topic="reports", topics="reports")


def test_task_group_hands_each_step_what_it_needs() -> None:
    with _dag():
        group = LongCallTaskGroup("steps", tooltip="a call", **INBOX, **START, **RESULT)
    assert group.tooltip == "a call"
    assert _kept(group.children["steps.create_subscription"], INBOX) == INBOX
    assert _kept(group.children["steps.start_call"], START) == START
    assert _kept(group.children["steps.wait_for_completion"], RESULT) == RESULT


def test_callable_is_given_what_it_names_of_the_context() -> None:
    def handler(result: object, ds: str, **others: object) -> str:
        return f"{result} {ds} {sorted(others)}"

    context: Any = {"ds": "2026-01-31", "run_id": "r"}
    bound = with_context(handler, context)
    assert bound is not None
    assert bound("result") == "result 2026-01-31 ['run_id']"
    only = with_context(lambda result: result, context)
    assert only is not None
    assert only("result") == "result"


def test_decorated_function_is_the_data_of_a_call_and_nothing_else_is() -> None:
    @task.long_call(topic="reports", endpoint="/train", query={"day": "{{ ds }}"}, retries=3)
    def train(epochs: int, name: str = "small") -> dict[str, Any]:
        return {"epochs": epochs, "name": name}

    with _dag() as dag:
        train(3)
        train.override(task_id="again", endpoint="/again")(4, name="large")
        train.override(task_id="mapped").partial(name="tiny").expand(epochs=[1, 2])
    first, again, mapped = (dag.task_dict[name] for name in ("train", "again", "mapped"))
    assert _kept(first, {"topic": 0, "endpoint": 0, "retries": 0, "multiple_outputs": 0}) == {
        "topic": "reports",
        "endpoint": "/train",
        "retries": 3,
        "multiple_outputs": False,
    }
    assert (again.endpoint, again.topic) == ("/again", "reports")
    unmapped = mapped.unmap({"op_kwargs": {"epochs": 2, "name": "tiny"}})
    for operator, expected in (
        (first, {"epochs": 3, "name": "small"}),
        (again, {"epochs": 4, "name": "large"}),
        (unmapped, {"epochs": 2, "name": "tiny"}),
    ):
        assert operator._start_request(CONTEXT, timeout=None).data == expected
    restored = SERIALIZATION.from_dict(SERIALIZATION.to_dict(dag))
    assert restored.task_dict["train"].query == {"day": "{{ ds }}"}


def test_what_a_decorated_function_returns_is_not_a_template() -> None:
    @task.long_call(topic="reports")
    def quote(text: str) -> str:
        return text

    with _dag() as dag:
        quote("{{ ds }}")
    operator = dag.task_dict["quote"]
    assert "data" in operator.template_fields
    operator.render_template_fields({"ds": "2026-01-31"})
    assert operator.op_args == ("2026-01-31",)
    operator.op_args = ("{{ not rendered }}",)
    assert operator._start_request(CONTEXT, timeout=None).data == "{{ not rendered }}"


async def _async() -> None:
    pass


def _function() -> None:
    pass


@pytest.mark.parametrize(
    ("options", "function", "says"),
    [({"data": {"n": 1}}, _function, "^data: "), ({}, _async, "ordinary function")],
)
def test_decorator_refuses_what_it_cannot_honour(options: Any, function: Any, says: str) -> None:
    with _dag(), pytest.raises(ContractError, match=says):
        task.long_call(task_id="call", topic="reports", **options)(function)()


@pytest.mark.parametrize(
    "options", [{"mode": "reschedule"}, {"exponential_backoff": True}, {"silent_fail": True}]
)
def test_sensor_refuses_what_a_deferred_one_cannot_honour(options: dict[str, Any]) -> None:
    with _dag(), pytest.raises(ContractError, match="deferrable=False"):
        LongCallSensor(task_id="wait", location="/calls/1", **options)
    with _dag():
        LongCallSensor(task_id="wait", location="/calls/1", deferrable=False, **options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"call": {"location": "http://s/1", "http_conn_id": "a"}}, ("a", "http://s/1")),
        ({"call": '{"location": "http://s/1", "http_conn_id": "a"}'}, ("a", "http://s/1")),
        ({"call": {"location": "http://s/1"}, "http_conn_id": "b"}, ("b", "http://s/1")),
        ({"location": "/calls/1"}, ("http_default", "/calls/1")),
    ],
)
def test_sensor_finds_the_status_resource(given: dict[str, Any], expected: tuple[str, str]) -> None:
    with _dag():
        assert LongCallSensor(task_id="wait", **given)._target() == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "^location: names no status resource"),
        (
            {"call": {"correlid": "lc-1", "location": ""}},
            "^call: names no.*WaitForCompletion",
        ),
        ({"call": "{'location': 'x'}"}, "^call: expected the XCom"),
    ],
)
def test_sensor_without_a_status_resource_names_field_and_remedy(given: dict[str, Any], says: str) -> None:
    with _dag(), pytest.raises(ContractError, match=says):
        LongCallSensor(task_id="wait", **given)._target()


def test_status_trigger_survives_serialisation() -> None:
    given = {"http_conn_id": "a", "location": "/calls/1", "poke_interval_s": 5.0, "not_before_s": 7.0}
    classpath, kwargs = StatusTrigger(**given).serialize()  # type: ignore[arg-type] # several types
    assert (classpath, kwargs) == ("longcall.airflow.status_trigger.StatusTrigger", given)
