"""A completion on its way through XCom comes out as it went in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.airflow.completion import (
    message_from_json,
    message_to_json,
    result_for_xcom,
    status_report,
    stored_report,
)
from longcall.client import CallFailed, ResultAccess, ResultNotFetched
from longcall.contract import (
    ContractError,
    DataReference,
    Failed,
    Message,
    Problem,
    Report,
    ReportBody,
    Succeeded,
    encode_report,
)

text = st.text(max_size=20)


@given(data=st.binary(max_size=200), attributes=st.dictionaries(text, text, max_size=5))
def test_message_survives_json(data: bytes, attributes: dict[str, str]) -> None:
    message = Message(data=data, attributes=attributes, message_id="7")

    stored = json.loads(json.dumps(message_to_json(message)))

    assert message_from_json(stored) == message


@pytest.mark.parametrize(
    "value", [None, "text", {}, {"attributes": {}}, {"attributes": {}, "data_base64": "%"}]
)
def test_something_else_in_the_xcom_is_refused(value: object) -> None:
    with pytest.raises(ContractError, match="longcall_completion"):
        message_from_json(value)


def stored(body: ReportBody) -> object:
    return message_to_json(encode_report(Report(correlation_id="lc-1", body=body, id="1", source="/s")))


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (Succeeded.of({"n": [1, None]}), {"n": [1, None]}),
        (Succeeded(data=b"Work Done!"), "Work Done!"),
        (Succeeded(data=b"\xff\x00"), {"data_base64": "/wA="}),
        (Succeeded(data=b"12", content_type="text/plain"), "12"),
    ],
)
def test_result_is_what_downstream_tasks_can_store(body: ReportBody, result: object) -> None:
    assert result_for_xcom(stored_report(stored(body), correlid="lc-1"), ResultAccess()) == result


def test_failure_is_raised_in_the_services_own_words() -> None:
    problem = Problem(title="Disk full", detail="on node 7", retryable=False)

    with pytest.raises(CallFailed, match="Disk full: on node 7") as caught:
        result_for_xcom(stored_report(stored(Failed(problem=problem)), correlid="lc-1"), ResultAccess())

    assert not caught.value.retryable


def test_completion_of_another_call_is_refused() -> None:
    with pytest.raises(ContractError, match="lc-2"):
        stored_report(stored(Succeeded()), correlid="lc-2")


def test_what_the_status_resource_says_is_stored_as_a_report_is() -> None:
    report = status_report("lc-1", Succeeded.of(42), location="http://service/calls/lc-1")
    kept = message_to_json(encode_report(report))
    assert result_for_xcom(stored_report(kept, correlid="lc-1"), ResultAccess()) == 42


def test_result_that_lies_elsewhere_is_fetched_from_where_the_task_allows_and_else_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "result").write_bytes(b'{"rows": 12}')
    reference = DataReference.of(b'{"rows": 12}', url=f"file://{tmp_path}/result")
    kept = stored(Succeeded(reference=reference, content_type="application/json"))
    report = stored_report(kept, correlid="lc-1")

    assert result_for_xcom(report, ResultAccess(prefixes=(f"file://{tmp_path}",))) == {"rows": 12}
    with pytest.raises(ResultNotFetched, match="result_prefixes") as caught:
        result_for_xcom(report, ResultAccess())
    assert not caught.value.retryable
