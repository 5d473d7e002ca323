"""Errors on the wire: problem details (RFC 9457), with what a caller needs to decide on a retry."""

from __future__ import annotations

from dataclasses import dataclass

from longcall.contract.errors import ContractError
from longcall.contract.json import JsonValue, whole_number

__all__ = ["PROBLEM_TYPE", "Problem"]

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, for a person and for a program.

    Attributes:
        title: a short summary that is the same each time this kind of thing goes wrong.
        detail: what went wrong this time, for the person who reads the task's log.
        code: the service's own name for the kind of error; a program may branch on it.
        retryable: whether the same call may succeed later. False fails the caller's task for good.
        retry_after_ms: how long the caller should wait before it does; None: as it likes.
        status: the HTTP status, where the problem was an HTTP answer.
        type: a URI that names the kind of problem (RFC 9457 section 3.1.1).
        instance: a URI that names this occurrence.
    """

    title: str
    detail: str = ""
    code: str = ""
    retryable: bool = True
    retry_after_ms: int | None = None
    status: int | None = None
    type: str = "about:blank"
    instance: str = ""

    def __str__(self) -> str:
        """Return title, detail and code in one line."""
        text = f"{self.title}: {self.detail}" if self.detail else self.title
        return f"{text} [{self.code}]" if self.code else text

    def to_wire(self) -> dict[str, JsonValue]:
        """Return the members that say something: no status that HTTP has not, no wait below zero."""
        wire: dict[str, JsonValue] = {"title": self.title, "retryable": self.retryable}
        if self.type != "about:blank":
            wire["type"] = self.type
        if _http_status(self.status) is not None:
            wire["status"] = self.status
        if self.detail:
            wire["detail"] = self.detail
        if self.instance:
            wire["instance"] = self.instance
        if self.code:
            wire["code"] = self.code
        if self.retry_after_ms is not None:
            wire["retry_after_ms"] = max(0, self.retry_after_ms)
        return wire

    @classmethod
    def from_wire(cls, value: JsonValue) -> Problem:
        """Read a problem; members that are missing take their defaults, unknown ones are ignored.

        A member of the wrong type is ignored too, as RFC 9457 section 3.1 demands, but for
        `retryable`, on which a task's fate hangs.

        Raises:
            ContractError: `value` is not an object, or `retryable` is not a boolean.
        """
        if not isinstance(value, dict):
            raise ContractError("problem", "a problem is a JSON object (RFC 9457)")
        retryable = value.get("retryable")
        if retryable is None:
            retryable = True
        if not isinstance(retryable, bool):
            raise ContractError("problem.retryable", "true or false")
        return cls(
            title=_text(value, "title") or "The service reported a failure",
            detail=_text(value, "detail"),
            code=_text(value, "code"),
            retryable=retryable,
            retry_after_ms=whole_number(value.get("retry_after_ms")),
            status=_http_status(value.get("status")),
            type=_text(value, "type") or "about:blank",
            instance=_text(value, "instance"),
        )


def _text(value: dict[str, JsonValue], name: str) -> str:
    member = value.get(name)
    return member if isinstance(member, str) else ""


def _http_status(value: JsonValue) -> int | None:
    status = whole_number(value, at_most=599)
    return status if status is not None and status >= 100 else None
