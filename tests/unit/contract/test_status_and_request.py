"""The status resource and the start request survive the wire; what is malformed is refused by field."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.contract.strategies import (
    completions,
    counts,
    ids,
    instants,
    json_values,
    problems,
    progresses,
)

from longcall.contract import (
    CallRequest,
    CallState,
    CallStatus,
    Cancelled,
    Completion,
    ContractError,
    Failed,
    JsonValue,
    MalformedRequest,
    Problem,
    Succeeded,
    decode_request,
    request_headers,
    url_with_correlation_id,
)

STATES = {Succeeded: CallState.SUCCEEDED, Failed: CallState.FAILED, Cancelled: CallState.CANCELLED}


def status_of(completion: Completion | None, **fields: object) -> CallStatus:
    state = CallState.RUNNING if completion is None else STATES[type(completion)]
    return CallStatus(state=state, completion=completion, **fields)  # type: ignore[arg-type] # built by hypothesis


statuses = st.builds(
    status_of,
    st.none() | completions,
    correlation_id=ids,
    attempt=counts,
    accepted_time=st.none() | instants,
    started_time=st.none() | instants,
    heartbeat_time=st.none() | instants,
    ended_time=st.none() | instants,
    progress=st.none() | progresses,
)


@given(statuses)
def test_every_status_survives_json(status: CallStatus) -> None:
    assert CallStatus.from_wire(json.loads(json.dumps(status.to_wire()))) == status


@given(problems)
def test_every_problem_survives_json(problem: Problem) -> None:
    assert Problem.from_wire(json.loads(json.dumps(problem.to_wire()))) == problem


def test_members_of_the_wrong_type_are_ignored_in_a_problem() -> None:
    assert Problem.from_wire({"title": 1, "status": "x", "retry_after_ms": -1, "type": None}) == Problem(
        title="The service reported a failure"
    )


def test_problem_says_nothing_that_no_reader_would_take() -> None:
    wire = Problem(title="t", status=42, retry_after_ms=-1).to_wire()

    assert wire == {"title": "t", "retryable": True, "retry_after_ms": 0}


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [(60000, 60000), (60000.0, 60000), (0.5, None), (True, None), (-1, None), (2**53, None), (10**400, None)],
)
def test_wait_before_a_retry_is_a_whole_number_in_any_notation(
    value: JsonValue, milliseconds: int | None
) -> None:
    assert Problem.from_wire({"retry_after_ms": value}).retry_after_ms == milliseconds


@pytest.mark.parametrize(("value", "status"), [(100, 100), (599, 599), (99, None), (600, None)])
def test_status_of_a_problem_is_one_of_http(value: JsonValue, status: int | None) -> None:
    assert Problem.from_wire({"status": value}).status == status


GOOD: dict[str, JsonValue] = {"correlid": "a", "state": "running", "attempt": 1}


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        ([], "status"),
        (GOOD | {"state": "asleep"}, "state"),
        (GOOD | {"correlid": 1}, "correlid"),
        (GOOD | {"attempt": True}, "attempt"),
        (GOOD | {"attempt": 1.5}, "attempt"),
        (GOOD | {"attempt": -1}, "attempt"),
        (GOOD | {"heartbeat_time": "noon"}, "heartbeat_time"),
        (GOOD | {"state": "succeeded"}, "result"),
        (GOOD | {"state": "succeeded", "result": {"data_base64": "%"}}, "result.data_base64"),
        (GOOD | {"state": "succeeded", "result": {"data_base64": "ä"}}, "result.data_base64"),
        (GOOD | {"state": "succeeded", "result": {"data_base64": 1}}, "result.data_base64"),
        (GOOD | {"state": "succeeded", "result": {"content_type": 1}}, "result.content_type"),
        (GOOD | {"state": "cancelled", "detail": 1}, "detail"),
        (GOOD | {"heartbeat_time": 1}, "heartbeat_time"),
        (GOOD | {"state": "failed"}, "problem"),
    ],
)
def test_malformed_status_names_the_field(wire: JsonValue, field: str) -> None:
    with pytest.raises(ContractError) as caught:
        CallStatus.from_wire(wire)

    assert caught.value.field == field


MEMBERS = [
    "correlid",
    "state",
    "attempt",
    "heartbeat_time",
    "ended_time",
    "progress",
    "result",
    "error",
    "detail",
]
almost_members = st.dictionaries(
    st.sampled_from(["data", "data_base64", "content_type", "title", "retryable", "done"]), json_values
)


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values | almost_members), st.sampled_from(CallState))
def test_any_status_is_read_or_refused_with_a_reason(wire: dict[str, JsonValue], state: CallState) -> None:
    try:
        status = CallStatus.from_wire({"correlid": "a", "state": state, **wire})
    except ContractError:
        return
    assert (status.completion is not None) == status.state.is_final


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"data": {"n": 1}}, {"n": 1}),
        ({"data": "text", "content_type": "text/plain"}, "text"),
        ({"data": "text", "content_type": "application/json"}, "text"),
        ({"data": {"n": 1}, "content_type": "application/vnd.x+json"}, {"n": 1}),
        ({"data_base64": None, "content_type": None}, ""),
        ({"data_base64": "/w=="}, b"\xff"),
    ],
)
def test_result_in_a_status_is_read_as_cloudevents_has_data(result: JsonValue, value: object) -> None:
    status = CallStatus.from_wire({"correlid": "a", "state": "succeeded", "result": result})

    assert isinstance(status.completion, Succeeded)
    assert status.completion.value() == value


def test_result_that_is_not_the_json_it_claims_does_not_break_the_status() -> None:
    status = status_of(Succeeded(data=b"{", content_type="application/json"), correlation_id="a")

    assert CallStatus.from_wire(status.to_wire()) == status


def test_members_that_are_null_say_nothing() -> None:
    wire: JsonValue = {"correlid": "a", "state": "cancelled", "detail": None, "attempt": None}

    assert CallStatus.from_wire(wire) == status_of(Cancelled(), correlation_id="a")


@pytest.mark.parametrize(
    ("state", "completion"), [("succeeded", None), ("running", Succeeded()), ("failed", Succeeded())]
)
def test_state_and_completion_must_agree(state: str, completion: Completion | None) -> None:
    with pytest.raises(ContractError, match="state"):
        CallStatus(correlation_id="a", state=CallState(state), completion=completion)


requests = st.builds(
    CallRequest,
    correlation_id=ids,
    body=st.binary(min_size=1, max_size=20),
    content_type=st.sampled_from(["application/json", "text/csv"]),
    deadline=st.none() | instants,
    reply_topic=st.sampled_from(["", "projects/p/topics/t"]),
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
)


@given(requests, st.sampled_from(["/serve", "https://host:1/a/b?x=1&x=2&y=#part", "serve?correlid=old"]))
def test_every_request_survives_http(request: CallRequest, url: str) -> None:
    target = url_with_correlation_id(url, request.correlation_id)
    query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    headers = {name.lower(): value for name, value in request_headers(request).items()}

    assert headers["prefer"] == "respond-async"
    assert decode_request(query, headers, request.body) == request
    assert urlsplit(target).path == urlsplit(url).path


def test_other_parameters_of_the_url_are_kept() -> None:
    url = "/a?x=1&correlid=old&y=&sig=%FF%20+&flag#f"

    assert url_with_correlation_id(url, "new") == "/a?x=1&y=&sig=%FF%20+&flag&correlid=new#f"


@pytest.mark.parametrize("value", ["a\r\nX: y", "text/ä"])
def test_value_that_no_header_can_hold_is_refused(value: str) -> None:
    with pytest.raises(ContractError, match="Content-Type"):
        request_headers(CallRequest(correlation_id="a", body=b"x", content_type=value))


def test_the_bare_request_has_the_id_in_its_query_alone() -> None:
    assert decode_request({"correlid": "a"}, {}, b"") == CallRequest(correlation_id="a")


def test_the_id_may_come_as_idempotency_key_alone_quoted_or_not() -> None:
    assert decode_request({}, {"idempotency-key": '"a"'}, b"").correlation_id == "a"


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ({}, {}, "correlid"),
        ({"correlid": "a b"}, {}, "correlid"),
        ({"correlid": "a"}, {"idempotency-key": "b"}, "Idempotency-Key"),
        ({"correlid": "a"}, {"longcall-deadline": "soon"}, "Longcall-Deadline"),
    ],
)
def test_malformed_request_names_the_field(
    query: dict[str, str], headers: dict[str, str], field: str
) -> None:
    with pytest.raises(MalformedRequest) as caught:
        decode_request(query, headers, b"")

    assert caught.value.field == field


HEADERS = ["idempotency-key", "content-type", "longcall-deadline", "longcall-reply-topic", "traceparent", "x"]
any_text = st.text(st.characters(), max_size=8)


@given(
    query=st.dictionaries(st.sampled_from(["correlid", "x"]), ids | any_text),
    headers=st.dictionaries(st.sampled_from(HEADERS), any_text),
    body=st.binary(max_size=5),
)
@example(query={"correlid": "a"}, headers={"content-type": "\ud800"}, body=b"x")
@example(query={}, headers={"idempotency-key": "0\r"}, body=b"")
@example(query={"correlid": "a"}, headers={"longcall-deadline": "9999-12-31T23:59:59-12:00"}, body=b"")
def test_any_request_is_read_or_refused_with_a_reason(
    query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    try:
        request = decode_request(query, headers, body)
    except MalformedRequest:
        return
    assert request.correlation_id in (query.get("correlid"), headers.get("idempotency-key", "").strip(' \t"'))
    assert len(request.digest()) == 64


def test_requests_that_ask_for_the_same_have_the_same_digest() -> None:
    request = CallRequest(correlation_id="a", body=b"{}", content_type="application/json")

    assert (
        request.digest()
        == CallRequest(correlation_id="b", body=b"{}", content_type="application/json").digest()
    )
    assert (
        request.digest()
        != CallRequest(correlation_id="a", body=b"[]", content_type="application/json").digest()
    )
