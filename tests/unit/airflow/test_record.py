"""The record of a call survives XCom and the trigger's arguments."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from longcall.airflow.record import CallRecord
from longcall.contract import ContractError, Report, Succeeded

RECORD = CallRecord(
    correlid="lc-1",
    inbox="projects/p/subscriptions/lc-1",
    lasting=False,
    project_id="p",
    gcp_conn_id="google",
    http_conn_id="service",
    location="http://service/calls/lc-1",
    accepted_ms=12,
    deadline_s=1.5,
)


def test_record_survives_json() -> None:
    assert CallRecord.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD


def test_record_tells_how_the_call_went() -> None:
    started = RECORD.started(
        location="http://service/calls/lc-1",
        accepted_ms=12,
        deadline_s=None,
        silence_s=None,
        is_signed=True,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert (started.state, started.ended_time) == ("", "")
    assert RECORD.duration_s is None
    assert started.duration_s is not None
    assert started.duration_s >= 0

    time = datetime(2026, 1, 31, 12, tzinfo=UTC)
    body = Succeeded.of({"a secret": "result"})
    ended = started.ended(
        Report(correlation_id="lc-1", body=body, source="/services/digits", time=time, attempt=2)
    )
    assert (ended.state, ended.attempt, ended.service) == ("succeeded", 2, "/services/digits")
    assert ended.ended_time == "2026-01-31T12:00:00.000000Z"
    assert CallRecord.from_json(json.loads(json.dumps(ended.to_json()))) == ended
    assert "a secret" not in str(ended)


def test_member_of_a_newer_version_is_ignored() -> None:
    assert CallRecord.from_json(RECORD.to_json() | {"colour": "blue"}) == RECORD


@pytest.mark.parametrize("value", [None, "lc-1", {"correlid": "lc-1"}])
def test_anything_else_is_refused_with_the_field(value: object) -> None:
    with pytest.raises(ContractError, match=r"^call: "):
        CallRecord.from_json(value)
