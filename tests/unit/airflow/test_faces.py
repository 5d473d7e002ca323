"""Every face takes its arguments in each way that Airflow has: at once, mapped, from defaults, serialised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.serialization import serialized_objects

from longcall.airflow import (
    CreateInboxOperator,
    LongCallOperator,
    LongCallTaskGroup,
    StartCallOperator,
    WaitForCompletionOperator,
)
from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments, with_context

# Before Airflow 3.3 by another name.
SERIALIZATION: Any = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG

INBOX: dict[str, Any] = {
    "topic": "reports",
    "gcp_conn_id": "google",
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
    with _dag(), pytest.raises(TypeError, match="topics"):
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
