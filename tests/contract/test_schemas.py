"""The schema files allow all that longcall writes, and longcall reads all that they allow."""

from __future__ import annotations

import base64
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from tests.unit.contract.strategies import ids, json_values, logs, problems, progresses, reports
from tests.unit.contract.test_status_and_request import statuses

from longcall.contract import (
    CallState,
    CallStatus,
    ContractError,
    Log,
    MalformedReport,
    Message,
    Problem,
    Progress,
    Report,
    decode_report,
    digest_of,
    encode_report,
)
from longcall.contract.log import log_from_wire, log_to_wire
from longcall.contract.progress import progress_from_wire, progress_to_wire

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[str, Any] = {
    file.name.removesuffix(".schema.json"): json.loads(file.read_text("utf-8"))
    for file in (files("longcall.contract") / "schemas").iterdir()
    if file.name.endswith(".schema.json")
}
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)
VECTORS = [json.loads(file.read_text("utf-8")) for file in (ROOT / "tests/contract/golden/v1").glob("*.json")]
REFUSED_ATTRIBUTES = {
    "correlid",
    "ce-time",
    "ce-attempt",
    "ce-sequence",
    "ce-datasize",
    "ce-dataexpires",
    "ce-dataref",
}


def allows(name: str, value: object) -> bool:
    return bool(Draft202012Validator(SCHEMAS[name], registry=REGISTRY).is_valid(value))


def test_there_is_a_schema_for_each_thing_on_the_wire() -> None:
    assert set(SCHEMAS) == {"log", "problem", "progress", "report-attributes", "status"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_one_and_is_named_as_its_file(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])

    assert SCHEMAS[name]["$id"] == f"urn:longcall:contract:v1:{name}"


@given(statuses)
def test_every_status_that_is_written_is_allowed(status: CallStatus) -> None:
    assert allows("status", status.to_wire())


@given(problems)
def test_every_problem_that_is_written_is_allowed(problem: Problem) -> None:
    assert allows("problem", problem.to_wire())


@given(
    st.builds(Problem, title=st.text(), status=st.integers(), retry_after_ms=st.integers(max_value=2**53 - 1))
)
def test_problem_with_impossible_numbers_is_written_without_them(problem: Problem) -> None:
    assert allows("problem", problem.to_wire())


@given(progresses)
def test_every_progress_that_is_written_is_allowed(progress: Progress) -> None:
    assert allows("progress", progress_to_wire(progress))


@given(logs)
def test_every_log_that_is_written_is_allowed(log: Log) -> None:
    assert allows("log", log_to_wire(log))


@given(reports)
def test_attributes_of_every_report_that_is_written_are_allowed(report: Report) -> None:
    assert allows("report-attributes", dict(encode_report(report).attributes))


ANY_RESULT = st.fixed_dictionaries(
    {},
    optional={
        "data": json_values,
        "data_base64": st.binary().map(base64.b64encode).map(bytes.decode),
        "dataref": st.sampled_from(["gs://b/x", "", "relative"]) | json_values,
        "datasize": st.integers() | json_values,
        "datadigest": st.binary().map(digest_of) | json_values,
        "dataexpires": st.just("2026-01-31T12:00:00Z") | json_values,
    },
)
ANY_STATUS = st.fixed_dictionaries(
    {"correlid": ids | json_values, "state": st.sampled_from([*CallState, "asleep"])},
    optional={
        "attempt": st.integers() | json_values,
        "progress": st.fixed_dictionaries({"done": json_values}, optional={"total": json_values}),
        "result": ANY_RESULT,
        "error": st.fixed_dictionaries({}, optional={"title": st.text(), "retryable": json_values}),
        "detail": st.text(),
    },
)


@given(ANY_STATUS)
def test_every_status_that_is_allowed_can_be_read(wire: Any) -> None:
    if allows("status", wire):
        assert CallStatus.from_wire(wire).state == wire["state"]


@given(
    st.dictionaries(st.sampled_from(["done", "total", "unit", "message", "x"]), st.integers() | json_values)
)
def test_every_progress_that_is_allowed_can_be_read(wire: Any) -> None:
    if allows("progress", wire):
        assert progress_from_wire(wire).done == wire["done"]


@given(st.lists(st.dictionaries(st.sampled_from(["message", "level", "time", "x"]), st.text() | json_values)))
def test_every_log_that_is_allowed_can_be_read(lines: Any) -> None:
    if allows("log", {"lines": lines}):
        assert [line.message for line in log_from_wire({"lines": lines}).lines] == [
            line["message"] for line in lines
        ]


@given(st.dictionaries(st.sampled_from(["title", "retryable", "status", "retry_after_ms"]), json_values))
def test_problem_that_is_allowed_is_read_as_it_stands(wire: Any) -> None:
    if allows("problem", wire):
        read = Problem.from_wire(wire)
        assert {name: getattr(read, name) for name in wire if wire[name]} == {
            k: v for k, v in wire.items() if v
        }


ATTRIBUTES = st.fixed_dictionaries(
    {"correlid": ids},
    optional={
        "ce-time": st.text(max_size=5) | st.just("2026-01-31T12:00:00.5+01:00"),
        "ce-attempt": st.text("0123456789- ２", max_size=20),
        "ce-sequence": st.text("0123456789", max_size=20),
        "ce-type": st.just("longcall.call.succeeded.v1"),
        "ce-id": st.just("1"),
        "ce-source": st.just("/s"),
        "ce-specversion": st.just("1.0"),
        "ce-dataref": st.just("gs://b/x") | st.text(max_size=5),
        "ce-datasize": st.text("0123456789", max_size=20),
        "ce-datadigest": st.binary().map(digest_of) | st.text(max_size=5),
        "ce-dataexpires": st.text(max_size=5) | st.just("2026-01-31T12:00:00Z"),
        "x": st.text(max_size=5),
    },
)


@given(ATTRIBUTES)
def test_attributes_that_are_allowed_can_be_read(attributes: dict[str, str]) -> None:
    if allows("report-attributes", attributes):
        assert decode_report(Message(attributes=attributes)) is not None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_schema_and_golden_vector_agree_on_the_attributes(vector: dict[str, Any]) -> None:
    attributes = vector["message"]["attributes"]

    if vector.get("canonical"):
        assert allows("report-attributes", attributes)
    if vector.get("refused") in REFUSED_ATTRIBUTES:
        assert not allows("report-attributes", attributes)


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("status", {"state": "running"}),
        ("status", {"correlid": "a b", "state": "running"}),
        ("status", {"correlid": "a", "state": "asleep"}),
        ("status", {"correlid": "a", "state": "succeeded"}),
        ("status", {"correlid": "a", "state": "running", "result": {"data": 1}}),
        ("status", {"correlid": "a", "state": "succeeded", "result": {"data": 1, "data_base64": ""}}),
        ("status", {"correlid": "a", "state": "succeeded", "result": {"data": 1, "dataref": "gs://b/x"}}),
        ("status", {"correlid": "a", "state": "succeeded", "result": {"dataref": "gs://b/x"}}),
        ("status", {"correlid": "a", "state": "failed"}),
        ("status", {"correlid": "a", "state": "failed", "error": {"retryable": "no"}}),
        ("status", {"correlid": "a", "state": "running", "heartbeat_time": "2026-01-31T12:00:00"}),
        ("progress", {}),
        ("progress", {"done": -1}),
        ("progress", {"done": 10**400}),
        ("log", {}),
        ("log", {"lines": [{"level": "info"}]}),
        ("log", {"lines": [{"message": "x" * 8193}]}),
        ("log", {"lines": [{"message": ""}] * 1001}),
        ("problem", {"status": 42}),
        ("report-attributes", {}),
        ("report-attributes", {"correlid": "a", "ce-dataref": "gs://b/x"}),
        ("report-attributes", {"correlid": "a", "ce-type": "longcall.call.accepted.v1"}),
    ],
)
def test_what_nobody_should_write_is_not_allowed(name: str, wire: object) -> None:
    assert not allows(name, wire)


@pytest.mark.parametrize(
    "example",
    re.findall(r"```json (\S+)\n(.*?)```", (ROOT / "docs/reference/contract.md").read_text(), re.DOTALL),
)
def test_examples_of_the_reference_are_allowed(example: tuple[str, str]) -> None:
    kind, text = example
    names = {
        "status": "status",
        "longcall.call.log.v1": "log",
        "longcall.call.progress.v1": "progress",
        "longcall.call.failed.v1": "problem",
    }

    if kind in names:
        assert allows(names[kind], json.loads(text))


def test_reader_and_schema_refuse_the_same_progress_on_the_wire() -> None:
    attributes = {"correlid": "a", "ce-type": "longcall.call.progress.v1"}
    data = b'{"done": 1' + b"0" * 400 + b"}"

    assert not allows("progress", json.loads(data))
    with pytest.raises(MalformedReport):
        decode_report(Message(data=data, attributes=attributes))
    with pytest.raises(ContractError):
        progress_from_wire(json.loads(data))
