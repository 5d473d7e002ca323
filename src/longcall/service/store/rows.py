"""Between a row of the table and the contract's values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Row

from longcall.contract import (
    CallRequest,
    CallState,
    CallStatus,
    Cancelled,
    Completion,
    Failed,
    JsonValue,
    Problem,
    Progress,
    Succeeded,
)
from longcall.contract.progress import progress_from_wire, progress_to_wire
from longcall.contract.reference import reference_from_wire, reference_to_wire
from longcall.contract.signing import keys_from_header, keys_to_header
from longcall.service.store.tables import calls
from longcall.service.store.values import Assignment, CallSummary, Due, StoredCall

__all__ = [
    "STATUS",
    "CallRow",
    "Values",
    "completion_values",
    "progress_value",
    "request_values",
    "seconds",
    "to_assignment",
    "to_due",
    "to_stored_call",
    "to_summary",
]

CallRow: TypeAlias = Row[Any]
Values: TypeAlias = dict[str, Any]

STATUS: Final = tuple(column for column in calls.c if column.name != "body")
"""What `to_stored_call` reads."""

_FINAL: Final = {
    Succeeded: CallState.SUCCEEDED,
    Failed: CallState.FAILED,
    Cancelled: CallState.CANCELLED,
}


def seconds(instant: datetime | None) -> float | None:
    """Return an instant as it stands in a row."""
    return None if instant is None else instant.timestamp()


def request_values(request: CallRequest) -> Values:
    """Return the columns that hold what it takes to run a call."""
    return {
        "correlid": request.correlation_id,
        "digest": request.digest(),
        "body": request.body,
        "content_type": request.content_type,
        "deadline_s": seconds(request.deadline),
        "reply_topic": request.reply_topic,
        "traceparent": request.traceparent,
        "signing_keys": keys_to_header(request.signing_keys),
        "caller": request.caller,
    }


def progress_value(progress: Progress) -> str:
    """Return progress as it stands in a row."""
    return json.dumps(progress_to_wire(progress))


def completion_values(completion: Completion, *, sequence: int, now: datetime) -> Values:
    """Return the columns that end a call; the body goes, for nothing will run it again."""
    values: Values = {
        "state": str(_FINAL[type(completion)]),
        "ended_s": now.timestamp(),
        "sequence": sequence,
        "owner": None,
        "body": None,
    }
    match completion:
        case Succeeded(content_type=content_type, reference=reference) if reference is not None:
            outcome: JsonValue = {"reference": reference_to_wire(reference)}
            values |= {"result": b"", "result_type": content_type}
        case Succeeded(data=data, content_type=content_type):
            return values | {"result": data, "result_type": content_type, "kept_bytes": len(data)}
        case Failed(problem=problem):
            outcome = problem.to_wire()
        case Cancelled(detail=detail):
            outcome = {"detail": detail}
    return values | {"outcome": json.dumps(outcome)}


def to_stored_call(row: CallRow) -> StoredCall:
    """Read a whole row."""
    status = CallStatus(
        correlation_id=row.correlid,
        state=CallState(row.state),
        attempt=row.attempt,
        accepted_time=_instant(row.accepted_s),
        started_time=_instant(row.started_s),
        heartbeat_time=_instant(row.heartbeat_s),
        ended_time=_instant(row.ended_s),
        progress=_progress(row),
        completion=_completion(row),
    )
    return StoredCall(digest=row.digest, handler=row.handler, caller=row.caller, status=status)


def to_summary(row: CallRow) -> CallSummary:
    """Read the columns of a list."""
    return CallSummary(
        number=row.number,
        correlation_id=row.correlid,
        handler=row.handler,
        caller=row.caller,
        state=CallState(row.state),
        attempt=row.attempt,
        accepted_time=datetime.fromtimestamp(row.accepted_s, UTC),
        started_time=_instant(row.started_s),
        ended_time=_instant(row.ended_s),
        progress=_progress(row),
        title=Problem.from_wire(json.loads(row.outcome)).title if row.state == CallState.FAILED else "",
    )


def to_assignment(row: CallRow) -> Assignment:
    """Read what a claim returns."""
    request = CallRequest(
        correlation_id=row.correlid,
        body=row.body or b"",
        content_type=row.content_type,
        deadline=_instant(row.deadline_s),
        reply_topic=row.reply_topic,
        traceparent=row.traceparent,
        signing_keys=keys_from_header(row.signing_keys),
    )
    return Assignment(
        request=request,
        handler=row.handler,
        attempt=row.attempt,
        waited_s=max(0.0, row.started_s - row.accepted_s),
    )


def to_due(row: CallRow) -> Due:
    """Read what has to be published."""
    completion = _completion(row)
    assert completion is not None  # the query asks for ended calls
    return Due(
        correlation_id=row.correlid,
        attempt=max(1, row.attempt),  # a call that was cancelled before it began counts as its first
        completion=completion,
        sequence=row.sequence,
        ended_time=datetime.fromtimestamp(row.ended_s, UTC),
        traceparent=row.traceparent,
        reply_topic=row.reply_topic,
        signing_keys=keys_from_header(row.signing_keys),
    )


def _progress(row: CallRow) -> Progress | None:
    return None if row.progress is None else progress_from_wire(json.loads(row.progress))


def _completion(row: CallRow) -> Completion | None:
    match row.state:
        case CallState.SUCCEEDED if row.outcome is not None:
            reference = reference_from_wire(json.loads(row.outcome)["reference"])
            return Succeeded(content_type=row.result_type, reference=reference)
        case CallState.SUCCEEDED:
            return Succeeded(data=row.result, content_type=row.result_type)
        case CallState.FAILED:
            return Failed(problem=Problem.from_wire(json.loads(row.outcome)))
        case CallState.CANCELLED:
            return Cancelled(detail=json.loads(row.outcome)["detail"])
        case _:
            return None


def _instant(value_s: float | None) -> datetime | None:
    return None if value_s is None else datetime.fromtimestamp(value_s, UTC)
