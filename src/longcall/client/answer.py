"""How a caller reads what a service answers. Pure: any HTTP library's answer will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from longcall.client.errors import CallCancelled, CallFailed, CallRefused
from longcall.client.starting import retry_after_s
from longcall.contract import (
    Cancelled,
    ContractError,
    Failed,
    JsonValue,
    Problem,
    Report,
    Succeeded,
    decode_json,
)

__all__ = ["StartAnswer", "completion_result", "read_start_answer", "refusal"]

_RETRYABLE: Final = frozenset({408, 425, 429})
_REMEDIES: Final = {
    401: "check the login of the connection to the service",
    403: "the caller's credentials do not permit this call",
    404: "check the endpoint: the service has nothing at this path",
    405: "check the method: this path does not take it",
    409: "the call is in a state that does not allow this: look at its status",
    413: "the arguments are too large: pass an address instead",
    415: "the service does not take this content type",
    422: "the service does not take these arguments under this correlation id",
}
_EXCERPT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAnswer:
    """The service has taken the call.

    Attributes:
        location: absolute URL of the status resource; None for a bare service.
        is_signed: the service signs the reports of this call.
    """

    location: str | None
    is_signed: bool


def read_start_answer(*, status: int, headers: Mapping[str, str], body: bytes, url: str) -> StartAnswer:
    """Read the answer to the start request: any 2xx accepts.

    Args:
        status: the HTTP status.
        headers: in any case.
        body: as received.
        url: where the answer came from; `Location` is relative to it (RFC 9110 section 10.2.2).

    Raises:
        CallRefused: anything else. Retryable for 408, 425, 429 and 5xx.
    """
    said = {name.lower(): value for name, value in headers.items()}
    if not 200 <= status < 300:
        raise refusal(status=status, body=body, url=url, headers=said)
    location = said.get("location")
    return StartAnswer(
        location=urljoin(url, location) if location else None,
        is_signed=said.get("longcall-signed", "").strip() == "v1",
    )


def refusal(*, status: int, body: bytes, url: str, headers: Mapping[str, str] | None = None) -> CallRefused:
    """Return the error for an answer that is no success, with what the service said and what to do.

    Args:
        status: the HTTP status.
        body: as received.
        url: where the answer came from.
        headers: by lower-case name; None: they say nothing of when to ask again.
    """
    problem = _problem(status, body)
    after_s = retry_after_s(headers or {})
    if after_s is None and problem.retry_after_ms is not None:
        after_s = problem.retry_after_ms / 1000
    remedy = f"; {_REMEDIES[status]}" if status in _REMEDIES else ""
    parts = urlsplit(url)
    # Query and user name may hold credentials, which no log may show.
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    return CallRefused(
        f"the service answered {status} at {address}: {problem}{remedy}",
        status=status,
        problem=problem,
        url=address,
        retryable=status >= 500 or status in _RETRYABLE,
        retry_after_s=after_s,
    )


def completion_result(report: Report) -> JsonValue | bytes:
    """Return the result that a completion carries; see `Succeeded.value`.

    Raises:
        CallFailed: the work has failed.
        CallCancelled: it was cancelled.
        ContractError: the report is no completion, or its data is not what it says.
    """
    match report.body:
        case Succeeded() as succeeded:
            return succeeded.value()
        case Failed(problem=problem):
            raise CallFailed(problem)
        case Cancelled(detail=detail):
            raise CallCancelled(detail)
        case body:
            raise ContractError("report", f"{type(body).__name__.lower()} is no completion")


def _problem(status: int, body: bytes) -> Problem:
    try:
        value = decode_json(body, field="problem")
        if isinstance(value, dict) and ("title" in value or "detail" in value):
            return Problem.from_wire(value)
    except ContractError:
        pass  # not problem details: show what it is
    text = " ".join(body[: 4 * _EXCERPT].decode(errors="replace").split())[:_EXCERPT]
    return Problem(title=text or "no explanation given", status=status)
