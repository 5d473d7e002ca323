"""Which completions an asset watcher fires for, and what its events say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from longcall.airflow.watched_topic import completion_event
from longcall.airflow.watcher import ServiceCompletionsTrigger
from longcall.broker.rules.filters import parse_filter
from longcall.contract import (
    Cancelled,
    ContractError,
    Failed,
    Heartbeat,
    Message,
    Problem,
    Report,
    ReportBody,
    Succeeded,
    completion_filter,
    encode_report,
)

BODIES: dict[str, ReportBody] = {
    "succeeded": Succeeded(data=b'"secret"', content_type="application/json"),
    "failed": Failed(problem=Problem(title="secret")),
    "cancelled": Cancelled(detail="secret"),
    "heartbeat": Heartbeat(),
}

needs_watchers = pytest.mark.needs_airflow("3.0", "Airflow 2 has no asset watchers")


def message(kind: str, *, source: str = "/services/digits") -> Message:
    if kind == "bare":
        return Message(data=b"secret", attributes={"correlid": "lc-1"}, message_id="7")
    time = datetime(2026, 1, 31, 8, tzinfo=UTC)
    report = Report(correlation_id="lc-1", body=BODIES[kind], id="lc-1/1/9", source=source, time=time)
    return encode_report(report)


@pytest.mark.parametrize(
    ("states", "source", "passes"),
    [
        ([Succeeded], "", {"succeeded", "bare"}),
        ([Failed, Cancelled], "", {"failed", "cancelled"}),
        ([Succeeded, Failed, Cancelled], "", {"succeeded", "failed", "cancelled", "bare"}),
        ([Succeeded, Failed], "/services/digits", {"succeeded", "failed"}),
        ([Succeeded], '/services/"other"', set()),
    ],
)
def test_filter_lets_through_these_completions_alone(states: Any, source: str, passes: set[str]) -> None:
    matches = parse_filter(completion_filter(states, source=source)).matches
    assert {kind for kind in [*BODIES, "bare"] if matches(message(kind).attributes)} == passes


def test_filter_of_a_source_that_is_too_long_names_it() -> None:
    with pytest.raises(ContractError, match="source"):
        completion_filter([Succeeded], source="/services/" + "x" * 250)


@pytest.mark.parametrize("kind", ["succeeded", "failed", "cancelled"])
def test_event_names_the_call_and_says_nothing_of_the_result(kind: str) -> None:
    event = completion_event(message(kind))
    assert event == {
        "correlid": "lc-1",
        "state": kind,
        "service": "/services/digits",
        "report": "lc-1/1/9",
        "time": "2026-01-31T08:00:00+00:00",
    }


def test_event_of_a_bare_service() -> None:
    expected = {"correlid": "lc-1", "state": "succeeded", "service": "", "report": "7", "time": ""}
    assert completion_event(message("bare")) == expected


def test_what_is_no_completion_is_no_event() -> None:
    assert completion_event(message("heartbeat")) is None


@needs_watchers
def test_trigger_survives_serialisation() -> None:
    given: dict[str, Any] = {
        "topic": "reports",
        "subscription": "watcher",
        "project_id": "a-project",
        "longcall_conn_id": "calls",
        "gcp_conn_id": "google",
        "impersonation_chain": ["a@project.iam.gserviceaccount.com"],
        "source": "/services/digits",
        "states": ["cancelled", "failed"],
    }
    classpath, kwargs = ServiceCompletionsTrigger(**given).serialize()
    assert classpath == "longcall.airflow.watcher.ServiceCompletionsTrigger"
    assert kwargs == given
    assert ServiceCompletionsTrigger(**kwargs).serialize() == (classpath, kwargs)


@needs_watchers
@pytest.mark.parametrize("states", [(), ("succeeded", "running"), ("done",)])
def test_state_that_no_completion_has_is_refused(states: tuple[str, ...]) -> None:
    with pytest.raises(ContractError, match=r"^states: one or more of succeeded, failed, cancelled"):
        ServiceCompletionsTrigger(topic="reports", subscription="watcher", states=states)
