"""The status resource: what `GET {Location}` says of a call.

The same facts as the reports, for a caller that missed them: state, progress,
the time of the last sign of life, and the completion once there is one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from longcall.contract.errors import ContractError
from longcall.contract.ids import check_correlation_id
from longcall.contract.instants import decode_instant, encode_instant
from longcall.contract.json import JSON_TYPE, JsonValue, decode_json, encode_json, whole_number
from longcall.contract.problem import Problem
from longcall.contract.progress import progress_from_wire, progress_to_wire
from longcall.contract.reference import DataReference, reference_from_wire, reference_to_wire
from longcall.contract.report import Cancelled, Completion, Failed, Progress, Succeeded

__all__ = ["CallState", "CallStatus"]


class CallState(StrEnum):
    """Where a call stands; the last three are final."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the call has its completion."""
        return self in _FINAL.values()


_FINAL: Final[dict[type[Completion], CallState]] = {
    Succeeded: CallState.SUCCEEDED,
    Failed: CallState.FAILED,
    Cancelled: CallState.CANCELLED,
}


_TIMES: Final = ("accepted_time", "started_time", "heartbeat_time", "ended_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """One call at one instant.

    Attributes:
        correlation_id: the call.
        state: where it stands.
        attempt: which run of the work this is, from 1; 0 before the first.
        accepted_time: when the service took it on, aware, as the other times.
        started_time: when the attempt began.
        heartbeat_time: the work's last sign of life.
        ended_time: when its completion was stored.
        progress: the last progress that was reported.
        completion: how the call ended; there exactly when `state` is final.
    """

    correlation_id: str
    state: CallState
    attempt: int = 0
    accepted_time: datetime | None = None
    started_time: datetime | None = None
    heartbeat_time: datetime | None = None
    ended_time: datetime | None = None
    progress: Progress | None = None
    completion: Completion | None = None

    def __post_init__(self) -> None:
        """Refuse a state that its completion does not bear out."""
        ended = _FINAL[type(self.completion)] if self.completion is not None else None
        if ended is None and self.state.is_final:
            raise ContractError("state", f"{self.state} without a completion")
        if ended is not None and self.state is not ended:
            raise ContractError("state", f"{self.state}, but the completion says {ended}")

    def to_wire(self) -> dict[str, JsonValue]:
        """Return the status as a JSON object."""
        wire: dict[str, JsonValue] = {
            "correlid": self.correlation_id,
            "state": str(self.state),
            "attempt": self.attempt,
        }
        for name in _TIMES:
            time: datetime | None = getattr(self, name)
            if time is not None:
                wire[name] = encode_instant(time, field=name)
        if self.progress is not None:
            wire["progress"] = progress_to_wire(self.progress)
        match self.completion:
            case Succeeded() as succeeded:
                wire["result"] = _result_to_wire(succeeded)
            case Failed(problem=problem):
                wire["error"] = problem.to_wire()
            case Cancelled(detail=detail) if detail:
                wire["detail"] = detail
            case _:
                pass
        return wire

    @classmethod
    def from_wire(cls, value: JsonValue) -> CallStatus:
        """Read a status resource; unknown members are ignored, null counts as missing.

        Raises:
            ContractError: a member is missing or not as the contract has it.
        """
        if not isinstance(value, dict):
            raise ContractError("status", "a JSON object")
        try:
            state = CallState(str(value.get("state")))
        except ValueError as error:
            raise ContractError("state", f"one of {', '.join(CallState)}") from error
        correlation_id, attempt = value.get("correlid"), value.get("attempt")
        if not isinstance(correlation_id, str):
            raise ContractError("correlid", "a string")
        runs = 0 if attempt is None else whole_number(attempt)
        if runs is None:
            raise ContractError("attempt", "a whole number, 0 or more")
        times = {name: _time(value, name) for name in _TIMES}
        progress = value.get("progress")
        return cls(
            correlation_id=check_correlation_id(correlation_id),
            state=state,
            attempt=runs,
            progress=progress_from_wire(progress) if progress is not None else None,
            completion=_completion_from_wire(state, value),
            **times,
        )


def _completion_from_wire(state: CallState, value: dict[str, JsonValue]) -> Completion | None:
    match state:
        case CallState.SUCCEEDED:
            return _result_from_wire(value.get("result"))
        case CallState.FAILED:
            return Failed(problem=Problem.from_wire(value.get("error")))
        case CallState.CANCELLED:
            return Cancelled(detail=_text(value, "detail", field="detail"))
        case _:
            return None


def _result_to_wire(result: Succeeded) -> dict[str, JsonValue]:
    """Return the result as CloudEvents' JSON format has data: `data`, or `data_base64` for bytes."""
    wire: dict[str, JsonValue] = {"content_type": result.content_type} if result.content_type else {}
    if result.reference is not None:
        return wire | reference_to_wire(result.reference)
    if result.content_type == JSON_TYPE:
        # What claims to be JSON and is not stands as it is: the reader decides, the status is told.
        with suppress(ContractError):
            return wire | {"data": decode_json(result.data, field="result")}
    return wire | {"data_base64": base64.b64encode(result.data).decode()}


def _result_from_wire(value: JsonValue) -> Succeeded:
    if not isinstance(value, dict):
        raise ContractError("result", "a JSON object")
    content_type = _text(value, "content_type", field="result.content_type")
    if value.get("dataref") is not None and not {"data", "data_base64"} & value.keys():
        return Succeeded(reference=_reference_from_wire(value), content_type=content_type)
    if "data" in value:
        return _result_of(value["data"], content_type or JSON_TYPE)
    try:
        data = base64.b64decode(_text(value, "data_base64", field="result.data_base64"), validate=True)
    except ValueError as error:  # binascii.Error is one; text that is not ASCII raises the plain kind
        raise ContractError("result.data_base64", "not base64") from error
    return Succeeded(data=data, content_type=content_type)


def _reference_from_wire(value: Mapping[str, JsonValue]) -> DataReference:
    try:
        return reference_from_wire(value)
    except ContractError as error:
        raise ContractError(f"result.{error.field}", error.reason) from error


def _result_of(value: JsonValue, content_type: str) -> Succeeded:
    result = Succeeded(data=encode_json(value, field="result"), content_type=content_type)
    if result.is_json or not isinstance(value, str):
        return result
    return Succeeded(data=value.encode(errors="replace"), content_type=content_type)


def _time(value: Mapping[str, JsonValue], name: str) -> datetime | None:
    text = _text(value, name, field=name)
    return decode_instant(text, field=name) if text else None


def _text(value: Mapping[str, JsonValue], name: str, *, field: str) -> str:
    """Return a member that is text; missing and null both mean empty."""
    member = value.get(name)
    if member is None:
        return ""
    if not isinstance(member, str):
        raise ContractError(field, "a string")
    return member
