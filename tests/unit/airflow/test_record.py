"""The record of a call survives XCom and the trigger's arguments."""

from __future__ import annotations

import json

import pytest

from longcall.airflow.record import CallRecord
from longcall.contract import ContractError

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


def test_member_of_a_newer_version_is_ignored() -> None:
    assert CallRecord.from_json(RECORD.to_json() | {"colour": "blue"}) == RECORD


@pytest.mark.parametrize("value", [None, "lc-1", {"correlid": "lc-1"}])
def test_anything_else_is_refused_with_the_field(value: object) -> None:
    with pytest.raises(ContractError, match=r"^call: "):
        CallRecord.from_json(value)
