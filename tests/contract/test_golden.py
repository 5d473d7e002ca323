"""The golden vectors: what version 1 has once put on the wire is read alike for ever."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from longcall.contract import (
    Accepted,
    Cancelled,
    Failed,
    Heartbeat,
    Log,
    MalformedReport,
    Message,
    Progress,
    Report,
    ReportBody,
    Succeeded,
    decode_report,
    encode_report,
)
from longcall.contract.instants import encode_instant
from longcall.contract.log import log_to_wire
from longcall.contract.reference import reference_to_wire

FILES = sorted((Path(__file__).parent / "golden" / "v1").glob("*.json"))
VECTORS = [json.loads(file.read_text("utf-8")) for file in FILES]
READ = [vector for vector in VECTORS if "report" in vector]


def message_of(vector: dict[str, Any]) -> Message:
    message = vector["message"]
    return Message(data=base64.b64decode(message["data_base64"]), attributes=message["attributes"])


def report_to_json(report: Report) -> dict[str, Any]:
    fields = {
        "correlid": report.correlation_id,
        "id": report.id,
        "source": report.source,
        "time": encode_instant(report.time, field="time") if report.time else None,
        "attempt": report.attempt,
        "sequence": report.sequence,
        "traceparent": report.traceparent,
    }
    said = {name: value for name, value in fields.items() if value not in (None, "")}
    return {**said, **body_to_json(report.body)}


def body_to_json(body: ReportBody) -> dict[str, Any]:
    match body:
        case Accepted():
            return {"kind": "accepted"}
        case Heartbeat():
            return {"kind": "heartbeat"}
        case Progress():
            progress = {"done": body.done, "total": body.total, "unit": body.unit, "message": body.message}
            return {"kind": "progress", "progress": progress}
        case Log():
            return {"kind": "log", "lines": log_to_wire(body)["lines"]}
        case Succeeded():
            said: dict[str, Any] = {"content_type": body.content_type}
            if body.reference is not None:
                return {"kind": "succeeded", "result": said | dict(reference_to_wire(body.reference))}
            data = base64.b64encode(body.data).decode()
            return {"kind": "succeeded", "result": said | {"data_base64": data}}
        case Failed():
            return {"kind": "failed", "problem": body.problem.to_wire()}
        case Cancelled():
            return {"kind": "cancelled", "detail": body.detail}


@pytest.mark.parametrize("vector", READ, ids=lambda vector: vector["name"])
def test_golden_report_is_read_as_it_always_was(vector: dict[str, Any]) -> None:
    report = decode_report(message_of(vector))

    assert report is not None
    assert report_to_json(report) == vector["report"]


@pytest.mark.parametrize(
    "vector", [vector for vector in READ if vector["canonical"]], ids=lambda vector: vector["name"]
)
def test_canonical_report_is_written_as_it_always_was(vector: dict[str, Any]) -> None:
    message = message_of(vector)
    report = decode_report(message)

    assert report is not None
    assert encode_report(report) == message


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if "ignored" in vector], ids=lambda vector: vector["name"]
)
def test_golden_message_of_another_kind_is_ignored(vector: dict[str, Any]) -> None:
    assert decode_report(message_of(vector)) is None


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if "refused" in vector], ids=lambda vector: vector["name"]
)
def test_golden_malformed_message_is_refused_by_field(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedReport) as caught:
        decode_report(message_of(vector))

    assert caught.value.field == vector["refused"]


def test_every_vector_is_named_as_its_file_and_has_one_outcome() -> None:
    assert [vector["name"] for vector in VECTORS] == [file.stem for file in FILES]
    for vector in VECTORS:
        assert len({"report", "ignored", "refused"} & set(vector)) == 1, vector["name"]


def test_every_kind_of_report_has_a_vector() -> None:
    kinds = {vector["report"]["kind"] for vector in READ if vector["canonical"]}

    assert kinds == {"accepted", "progress", "heartbeat", "log", "succeeded", "failed", "cancelled"}
