"""Reports survive the wire, and nothing on the wire crashes a reader."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.pubsub_v1.types import PublishRequest, PubsubMessage
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.contract.strategies import ids, json_values, reports

from longcall.contract import (
    Accepted,
    Cancelled,
    ContractError,
    Failed,
    MalformedReport,
    Message,
    Problem,
    Progress,
    Report,
    ReportBody,
    Succeeded,
    decode_report,
    encode_report,
    is_completion,
)
from longcall.contract.message import ENVELOPE_BYTES, MAX_MESSAGE_BYTES

SUCCEEDED = "longcall.call.succeeded.v1"


@given(reports)
def test_every_report_survives_the_wire(report: Report) -> None:
    message = encode_report(report)

    assert message.attributes["correlid"] == report.correlation_id
    assert decode_report(message) == report


NAMES = [
    "correlid",
    "ce-type",
    "ce-id",
    "ce-source",
    "ce-time",
    "ce-attempt",
    "ce-sequence",
    "content-type",
    "traceparent",
    "x",
]
KINDS = ["accepted", "progress", "heartbeat", "log", "succeeded", "failed", "cancelled"]
TYPES = [f"longcall.call.{kind}.v1" for kind in KINDS]
SURROGATES = st.text(st.characters(), max_size=5)
VALUES = SURROGATES | st.sampled_from([*TYPES, "7", "-1", "２", "application/json", "2026-01-31"])
MEMBERS = [
    "lines",
    "done",
    "total",
    "unit",
    "message",
    "title",
    "detail",
    "retryable",
    "retry_after_ms",
    "status",
]
almost_valid = st.dictionaries(st.sampled_from(MEMBERS), json_values).map(json.dumps).map(str.encode)
attributes_of_a_call = st.fixed_dictionaries(
    {"correlid": ids}, optional={"ce-type": st.sampled_from(TYPES), "ce-time": VALUES, "ce-attempt": VALUES}
)


@given(
    data=almost_valid | st.binary(max_size=40) | st.sampled_from([b"[]", b"[" * 9999, b"1" * 5000]),
    attributes=attributes_of_a_call | st.dictionaries(st.sampled_from(NAMES), VALUES),
)
@example(data=b'{"done": 1%s}' % (b"0" * 400), attributes={"correlid": "a", "ce-type": TYPES[1]})
@example(data=b'{"done": 1e999}', attributes={"correlid": "a", "ce-type": TYPES[1]})
@example(data=b'{"title": "\\ud800"}', attributes={"correlid": "a", "ce-type": TYPES[4]})
@example(data=b"", attributes={"correlid": "\ud800"})
@example(data=b"", attributes={"correlid": "a", "ce-time": "\ud800", "ce-type": "\udfff"})
@example(data=b"", attributes={"correlid": "a", "ce-time": "2026-01-31T25:00:00Z"})
@example(data=b"", attributes={"correlid": "a", "ce-attempt": "9" * 5000})
@example(data=b"\xff", attributes={"correlid": "a", "ce-type": "longcall.call.failed.v1"})
@example(data=b"NaN", attributes={"correlid": "a", "ce-type": "longcall.call.progress.v1"})
def test_any_message_is_read_ignored_or_refused_with_a_reason(
    data: bytes, attributes: dict[str, str]
) -> None:
    try:
        report = decode_report(Message(data=data, attributes=attributes))
    except MalformedReport:
        return
    assert report is None or report.correlation_id == attributes["correlid"]


@given(data=almost_valid, kind=st.sampled_from(TYPES))
def test_report_that_was_read_can_be_written_and_read_again(data: bytes, kind: str) -> None:
    attributes = {"correlid": "a", "ce-type": kind, "ce-id": "1", "ce-source": "/s"}
    try:
        report = decode_report(Message(data=data, attributes=attributes))
    except MalformedReport:
        return

    assert report is not None
    assert decode_report(encode_report(report)) == report


def test_bare_message_says_succeeded_and_its_data_is_the_result() -> None:
    published = datetime(2026, 1, 31, tzinfo=UTC)
    message = Message(data=b"Work Done!", attributes={"correlid": "airflow-test-1"}, publish_time=published)

    assert decode_report(message) == Report(
        correlation_id="airflow-test-1", body=Succeeded(data=b"Work Done!"), time=published
    )


def test_attributes_that_mean_nothing_here_are_ignored() -> None:
    bare = Message(data=b"x", attributes={"correlid": "a", "colour": "blue", "ce-colour": "red"})

    assert decode_report(bare) == Report(correlation_id="a", body=Succeeded(data=b"x"))


@pytest.mark.parametrize(
    "kind", ["longcall.call.succeeded.v2", "longcall.call.paused.v1", "com.example.done", ""]
)
def test_type_of_another_version_or_vendor_is_ignored(kind: str) -> None:
    assert decode_report(Message(attributes={"correlid": "a", "ce-type": kind})) is None


@pytest.mark.parametrize(
    ("attributes", "data", "field"),
    [
        ({}, b"", "correlid"),
        ({"correlid": 'a"b'}, b"", "correlid"),
        ({"correlid": "a", "ce-type": SUCCEEDED, "ce-time": "noon"}, b"", "ce-time"),
        ({"correlid": "a", "ce-type": SUCCEEDED, "ce-time": "2026-01-31T12:00:00"}, b"", "ce-time"),
        ({"correlid": "a", "ce-type": SUCCEEDED, "ce-attempt": "one"}, b"", "ce-attempt"),
        ({"correlid": "a", "ce-type": "longcall.call.failed.v1"}, b"{", "problem"),
        ({"correlid": "a", "ce-type": "longcall.call.failed.v1"}, b"[]", "problem"),
        (
            {"correlid": "a", "ce-type": "longcall.call.failed.v1"},
            b'{"retryable": "no"}',
            "problem.retryable",
        ),
        ({"correlid": "a", "ce-type": "longcall.call.progress.v1"}, b"[]", "progress"),
        ({"correlid": "a", "ce-type": "longcall.call.progress.v1"}, b"{}", "progress.done"),
        ({"correlid": "a", "ce-type": "longcall.call.progress.v1"}, b'{"done": -1}', "progress.done"),
        (
            {"correlid": "a", "ce-type": "longcall.call.progress.v1"},
            b'{"done": 1, "unit": 2}',
            "progress.unit",
        ),
        ({"correlid": "a", "ce-type": "longcall.call.cancelled.v1"}, b"[]", "detail"),
        ({"correlid": "a", "ce-type": "longcall.call.cancelled.v1"}, b'{"detail": 1}', "detail"),
    ],
)
def test_malformed_report_names_the_field(attributes: dict[str, str], data: bytes, field: str) -> None:
    with pytest.raises(MalformedReport) as caught:
        decode_report(Message(data=data, attributes=attributes))

    assert caught.value.field == field
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (Report(correlation_id="a", body=Accepted(), source="/s"), "id"),
        (Report(correlation_id="a", body=Accepted(), id="1"), "source"),
        (Report(correlation_id="", body=Accepted(), id="1", source="/s"), "correlid"),
        (Report(correlation_id="a", body=Accepted(), id="1" * 1025, source="/s"), "ce-id"),
        (Report(correlation_id="a", body=Accepted(), id="\ud800", source="/s"), "ce-id"),
        (Report(correlation_id="a", body=Succeeded(data=bytes(10_000_000)), id="1", source="/s"), "data"),
        (Report(correlation_id="a", body=Progress(done=float("nan")), id="1", source="/s"), "progress.done"),
        (Report(correlation_id="a", body=Progress(done=-1), id="1", source="/s"), "progress.done"),
        (Report(correlation_id="a", body=Accepted(), id="1", source="/s", attempt=-1), "attempt"),
        (Report(correlation_id="a", body=Accepted(), id="1", source="/s", sequence=10**18), "sequence"),
        (
            Report(
                correlation_id="a",
                body=Accepted(),
                id="1",
                source="/s",
                time=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            ),
            "time",
        ),
        (
            Report(correlation_id="a", body=Accepted(), id="1", source="/s", time=datetime(2026, 1, 31)),
            "time",
        ),  # on purpose
    ],
)
def test_report_that_cannot_stand_on_the_wire_is_refused(report: Report, field: str) -> None:
    with pytest.raises(ContractError) as caught:
        encode_report(report)

    assert caught.value.field == field


def test_completions_are_the_reports_that_end_a_call() -> None:
    assert is_completion(Succeeded())
    assert not is_completion(Accepted())


def test_problem_says_itself_in_one_line() -> None:
    assert str(Problem(title="Disk full", detail="node 7", code="disk")) == "Disk full: node 7 [disk]"
    assert str(Problem(title="Disk full")) == "Disk full"


def test_cancelled_needs_no_words() -> None:
    message = Message(attributes={"correlid": "a", "ce-type": "longcall.call.cancelled.v1"})

    assert decode_report(message) == Report(correlation_id="a", body=Cancelled())


@pytest.mark.parametrize(
    ("kind", "data", "body"),
    [
        ("cancelled", b'{"detail": null}', Cancelled()),
        ("progress", b'{"done": 1, "total": null, "unit": null, "message": null}', Progress(done=1)),
        ("failed", b'{"title": "x", "retryable": null, "status": null}', Failed(problem=Problem(title="x"))),
    ],
)
def test_member_that_is_null_counts_as_missing(kind: str, data: bytes, body: ReportBody) -> None:
    message = Message(data=data, attributes={"correlid": "a", "ce-type": f"longcall.call.{kind}.v1"})

    assert decode_report(message) == Report(correlation_id="a", body=body)


def test_largest_report_fits_in_a_publish_request_of_pubsub() -> None:
    topic = f"projects/{'p' * 30}/topics/{'t' * 255}"
    empty = Report(
        correlation_id="a" * 200,
        body=Succeeded(content_type="image/png"),
        id="1" * 1024,
        source="s" * 1024,
        time=datetime(2026, 1, 31, tzinfo=UTC),
        attempt=10**18 - 1,
        sequence=10**18 - 1,
        traceparent="t" * 1024,
    )
    attributes = encode_report(empty).attributes
    room = MAX_MESSAGE_BYTES - ENVELOPE_BYTES - sum(len(k) + len(v) for k, v in attributes.items())

    largest = replace(empty, body=Succeeded(data=bytes(room), content_type="image/png"))
    message = PubsubMessage(data=encode_report(largest).data, attributes=dict(attributes))
    assert PublishRequest.pb(PublishRequest(topic=topic, messages=[message])).ByteSize() <= MAX_MESSAGE_BYTES

    with pytest.raises(ContractError, match=r"^data: "):
        encode_report(replace(empty, body=Succeeded(data=bytes(room + 1), content_type="image/png")))
