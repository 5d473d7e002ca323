"""What a handler sees of its call: the arguments, and a way to report progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from longcall.contract import CallRequest, ContractError, JsonValue, Problem, Progress, Succeeded, decode_json
from longcall.service.errors import CallFailure

__all__ = ["Call", "Handler", "HandlerResult", "Result", "failure_problem", "to_succeeded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result that is not JSON.

    Attributes:
        data: as it shall stand on the wire, at most 10 MB.
        content_type: its media type.
    """

    data: bytes
    content_type: str = "application/octet-stream"


class Call:
    """One call at work.

    Attributes:
        correlation_id: the caller's name for it.
        attempt: which run of the work this is, from 1.
        body: the arguments as they came.
        content_type: their media type; empty without a body.
        deadline: after which nobody waits for the answer; None: no such time.
    """

    def __init__(
        self, request: CallRequest, *, attempt: int, on_progress: Callable[[Progress], None]
    ) -> None:
        self.correlation_id: str = request.correlation_id
        self.attempt: int = attempt
        self.body: bytes = request.body
        self.content_type: str = request.content_type
        self.deadline: datetime | None = request.deadline
        self._on_progress = on_progress

    @property
    def arguments(self) -> JsonValue:
        """The arguments, decoded from JSON; None without a body.

        Raises:
            CallFailure: the body is not JSON; not retryable. Text and bytes are in `body`.
        """
        if not self.body:
            return None
        try:
            return decode_json(self.body, field="body")
        except ContractError as error:
            raise CallFailure(
                "Bad arguments", detail=str(error), code="arguments", retryable=False
            ) from error

    def report_progress(
        self, done: float, total: float | None = None, *, unit: str = "", message: str = ""
    ) -> None:
        """Tell the caller how far the work has come. Returns at once.

        A few reports a second are published at most; of more, the latest.
        """
        self._on_progress(Progress(done=done, total=total, unit=unit, message=message))


HandlerResult: TypeAlias = JsonValue | Result
Handler: TypeAlias = Callable[[Call], HandlerResult] | Callable[[Call], Awaitable[HandlerResult]]


def to_succeeded(value: HandlerResult) -> Succeeded:
    """Return what a handler returned as it is published.

    Raises:
        CallFailure: it is neither JSON nor a `Result`; not retryable.
    """
    if isinstance(value, Result):
        return Succeeded(data=value.data, content_type=value.content_type)
    try:
        return Succeeded.of(value)
    except ContractError as error:
        raise CallFailure("Bad result", detail=str(error), code="result", retryable=False) from error


def failure_problem(error: Exception) -> Problem:
    """Return an exception that is no `CallFailure` as it is published."""
    return Problem(title=type(error).__name__, detail=str(error))
