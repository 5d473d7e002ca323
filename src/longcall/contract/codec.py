"""Reports to messages and back: CloudEvents 1.0 on Pub/Sub attributes, binary mode.

Rests on CloudEvents 1.0.2 and its Google Cloud Pub/Sub protocol binding: every
context attribute becomes a message attribute with the prefix `ce-`, the data's
media type becomes `content-type`, and the data stays as it is. `correlid` and
`traceparent` keep their plain names, the first because a subscription's filter
looks for it, the second because W3C named it so.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from longcall.contract.errors import ContractError, MalformedReport
from longcall.contract.ids import check_correlation_id
from longcall.contract.instants import decode_instant, encode_instant
from longcall.contract.json import JSON_TYPE, JsonValue, decode_json, encode_json
from longcall.contract.log import log_from_wire, log_to_wire
from longcall.contract.message import (
    ENVELOPE_BYTES,
    MAX_ATTRIBUTE_VALUE_BYTES,
    MAX_MESSAGE_BYTES,
    Message,
)
from longcall.contract.names import bounded_filter, quote_filter_string
from longcall.contract.problem import PROBLEM_TYPE, Problem
from longcall.contract.progress import progress_from_wire, progress_to_wire
from longcall.contract.reference import reference_from_wire, reference_to_wire
from longcall.contract.report import (
    Accepted,
    Cancelled,
    Completion,
    Failed,
    Heartbeat,
    Log,
    Progress,
    Report,
    ReportBody,
    Succeeded,
)

__all__ = ["CORRELATION_ATTRIBUTE", "completion_filter", "decode_report", "encode_report"]

CORRELATION_ATTRIBUTE: Final = "correlid"

_TYPES: Final[dict[type[ReportBody], str]] = {
    Accepted: "longcall.call.accepted.v1",
    Progress: "longcall.call.progress.v1",
    Heartbeat: "longcall.call.heartbeat.v1",
    Log: "longcall.call.log.v1",
    Succeeded: "longcall.call.succeeded.v1",
    Failed: "longcall.call.failed.v1",
    Cancelled: "longcall.call.cancelled.v1",
}
_MAX_DATA_AND_ATTRIBUTES_BYTES: Final = MAX_MESSAGE_BYTES - ENVELOPE_BYTES
_MAX_DIGITS: Final = 18  # what fits 64 bits in every language
_BODIES: Final = {name: body for body, name in _TYPES.items()}
_REFERENCE: Final = ("dataref", "datasize", "datadigest", "dataexpires")


def encode_report(report: Report) -> Message:
    """Return the message that carries `report`.

    Raises:
        ContractError: a field cannot stand on the wire, or the message would be larger than
            Pub/Sub takes (10 MB the publish request, 1024 bytes an attribute).
    """
    data, content_type = _encode_body(report.body)
    attributes = {
        CORRELATION_ATTRIBUTE: check_correlation_id(report.correlation_id),
        "ce-specversion": "1.0",
        "ce-type": _TYPES[type(report.body)],
        "ce-id": report.id,
        "ce-source": report.source,
        "ce-time": encode_instant(report.time, field="time") if report.time else "",
        "ce-attempt": _encode_count(report.attempt, field="attempt"),
        "ce-sequence": _encode_count(report.sequence, field="sequence"),
        "content-type": content_type,
        "traceparent": report.traceparent,
        **_encode_reference(report.body),
    }
    for name in ("ce-id", "ce-source"):
        if not attributes[name]:
            raise ContractError(name.removeprefix("ce-"), "CloudEvents requires it; it must not be empty")
    message = Message(data=data, attributes={name: value for name, value in attributes.items() if value})
    _check_size(message)
    return message


def decode_report(message: Message) -> Report | None:
    """Return the report that `message` carries; None for a type that this version does not know.

    A message with no `ce-type` is the bare pattern's: its arrival says *succeeded* and its data is
    the result. Attributes that mean nothing here are ignored.

    Raises:
        MalformedReport: the message has no correlation id, or claims a known type and is not so made.
    """
    attributes = message.attributes
    try:
        correlation_id = check_correlation_id(attributes.get(CORRELATION_ATTRIBUTE, ""))
        if len(message.data) > MAX_MESSAGE_BYTES:
            raise ContractError("data", f"{len(message.data)} bytes; Pub/Sub takes {MAX_MESSAGE_BYTES}")
        kind = attributes.get("ce-type")
        if kind is None:
            body: ReportBody = Succeeded(data=message.data, content_type=attributes.get("content-type", ""))
        elif kind == _TYPES[Succeeded]:
            body = _decode_succeeded(message)
        elif kind in _BODIES:
            body = _decode_body(_BODIES[kind], message)
        else:
            return None
        time = attributes.get("ce-time")
        return Report(
            correlation_id=correlation_id,
            body=body,
            id=attributes.get("ce-id", ""),
            source=attributes.get("ce-source", ""),
            time=decode_instant(time, field="ce-time") if time else message.publish_time,
            attempt=_decode_count(attributes.get("ce-attempt"), field="ce-attempt"),
            sequence=_decode_count(attributes.get("ce-sequence"), field="ce-sequence"),
            traceparent=attributes.get("traceparent", ""),
        )
    except ContractError as error:
        raise MalformedReport(error.field, error.reason) from error


def completion_filter(kinds: Collection[type[Completion]], *, source: str = "") -> str:
    """Return the filter that lets through completions of these kinds, of one source or of all.

    Messages of the bare pattern are *succeeded*, and of no source.

    Raises:
        ContractError: the filter would be longer than Pub/Sub allows (256 bytes).
    """
    named = [f'attributes."ce-type" = {quote_filter_string(_TYPES[kind])}' for kind in kinds]
    if not source:
        if Succeeded in kinds:
            named.append('NOT attributes:"ce-type"')
        return bounded_filter(" OR ".join(named), "states")
    of_source = f'attributes."ce-source" = {quote_filter_string(source)}'
    return bounded_filter(f"{of_source} AND ({' OR '.join(named)})", "source")


def _encode_body(body: ReportBody) -> tuple[bytes, str]:
    match body:
        case Succeeded(data=data, content_type=content_type):
            return data, content_type
        case Failed(problem=problem):
            return encode_json(problem.to_wire(), field="problem"), PROBLEM_TYPE
        case Progress():
            wire = progress_to_wire(body)
            progress_from_wire(wire)  # what no reader takes is not sent
            return encode_json(wire, field="progress"), JSON_TYPE
        case Log():
            wire = log_to_wire(body)
            log_from_wire(wire)
            return encode_json(wire, field="lines"), JSON_TYPE
        case Cancelled(detail=detail) if detail:
            return encode_json({"detail": detail}, field="detail"), JSON_TYPE
        case _:
            return b"", ""


def _encode_reference(body: ReportBody) -> dict[str, str]:
    if not isinstance(body, Succeeded) or body.reference is None:
        return {}
    body.reference.check_complete()
    return {f"ce-{name}": str(value) for name, value in reference_to_wire(body.reference).items()}


def _decode_succeeded(message: Message) -> Succeeded:
    content_type = message.attributes.get("content-type", "")
    wire: dict[str, JsonValue] = {
        name: message.attributes[f"ce-{name}"] for name in _REFERENCE if f"ce-{name}" in message.attributes
    }
    if message.data or "dataref" not in wire:  # both together say the same
        return Succeeded(data=message.data, content_type=content_type)
    wire["datasize"] = _decode_count(message.attributes.get("ce-datasize"), field="ce-datasize")
    try:
        return Succeeded(reference=reference_from_wire(wire), content_type=content_type)
    except ContractError as error:
        raise ContractError(f"ce-{error.field}", error.reason) from error


def _decode_body(body: type[ReportBody], message: Message) -> ReportBody:
    if body is Failed:
        return Failed(problem=Problem.from_wire(decode_json(message.data, field="problem")))
    if body is Progress:
        return progress_from_wire(decode_json(message.data, field="progress"))
    if body is Log:
        return log_from_wire(decode_json(message.data, field="lines"))
    if body is Cancelled:
        return Cancelled(detail=_decode_detail(message.data))
    return body()  # type: ignore[call-arg] # Accepted and Heartbeat have no fields


def _decode_detail(data: bytes) -> str:
    if not data:
        return ""
    value: JsonValue = decode_json(data, field="detail")
    if not isinstance(value, dict):
        raise ContractError("detail", 'a cancelled report holds {"detail": "…"} or nothing')
    detail = value.get("detail")
    if detail is None:
        return ""
    if not isinstance(detail, str):
        raise ContractError("detail", "a string")
    return detail


def _encode_count(count: int | None, *, field: str) -> str:
    if count is None:
        return ""
    if not 0 <= count < 10**_MAX_DIGITS:
        raise ContractError(field, f"a whole number of at most {_MAX_DIGITS} digits, 0 or more")
    return str(count)


def _decode_count(text: str | None, *, field: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ContractError(field, f"{text[:40]!r} is not a whole number")
    return int(text)


def _check_size(message: Message) -> None:
    total = len(message.data)
    for name, value in message.attributes.items():
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise ContractError(name, f"not Unicode text: {error.reason}") from error
        if size > MAX_ATTRIBUTE_VALUE_BYTES:
            raise ContractError(
                name, f"{size} bytes; a Pub/Sub attribute has at most {MAX_ATTRIBUTE_VALUE_BYTES}: shorten it"
            )
        total += size + len(name)
    if total > _MAX_DATA_AND_ATTRIBUTES_BYTES:
        raise ContractError(
            "data",
            f"the report has {total} bytes and Pub/Sub takes {_MAX_DATA_AND_ATTRIBUTES_BYTES}: "
            "store the result and return its address",
        )
