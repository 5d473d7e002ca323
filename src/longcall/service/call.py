"""What a handler sees of its call: the arguments, and a way to report progress."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from longcall.contract import (
    JSON_TYPE,
    MAX_MESSAGE_BYTES,
    CallRequest,
    ContractError,
    DataReference,
    JsonValue,
    Problem,
    Progress,
    Succeeded,
    decode_json,
)
from longcall.service.errors import CallFailed
from longcall.service.log_lines import LogWriter
from longcall.service.wording import publishable

__all__ = [
    "MAX_RESULT_BYTES",
    "MAX_STORED_RESULT_BYTES",
    "Call",
    "Handler",
    "HandlerResult",
    "Result",
    "failure_problem",
    "to_succeeded",
    "too_large",
]

log = logging.getLogger(__name__)

MAX_RESULT_BYTES: Final = MAX_MESSAGE_BYTES - 10_000
"""What Pub/Sub takes, less room for the attributes."""

MAX_STORED_RESULT_BYTES: Final = 1_000_000_000
"""What a service takes that has a place for large results: all of it is in memory for a while."""

_MAX_TYPE_LENGTH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result that is not JSON, or that lies elsewhere.

    Attributes:
        data: as it shall stand on the wire, at most the call's `max_result_bytes`.
        content_type: its media type.
        reference: where it lies, in place of `data`; who has put it there sees to its end, too.
    """

    data: bytes = b""
    content_type: str = "application/octet-stream"
    reference: DataReference | None = None


class Call:
    """One call at work.

    Attributes:
        id: the correlation id, the caller's name for it.
        attempt: which run of the work this is, from 1.
        body: the arguments as they came.
        content_type: their media type; empty without a body.
        deadline: after which nobody waits for the answer; None: no such time.
        max_result_bytes: a larger result fails the call.
    """

    def __init__(
        self,
        request: CallRequest,
        *,
        attempt: int,
        on_progress: Callable[[Progress], None],
        log_writer: LogWriter,
        is_cancelled: Callable[[], bool] = lambda: False,
        max_result_bytes: int = MAX_RESULT_BYTES,
    ) -> None:
        self.max_result_bytes: int = max_result_bytes
        self.id: str = request.correlation_id
        self.attempt: int = attempt
        self.body: bytes = request.body
        self.content_type: str = request.content_type
        self.deadline: datetime | None = request.deadline
        self._on_progress = on_progress
        self._log_writer = log_writer
        self._is_cancelled = is_cancelled

    @property
    def cancelled(self) -> bool:
        """Whether this run shall end: the call is cancelled, or the service stops. It stays so.

        A handler need not look: it is stopped (`asyncio.CancelledError` in a task, `SystemExit` in a
        process's main thread, and SIGKILL five seconds later). A loop in a thread of its own, or a clean-up
        that wants to know why it runs, may.
        """
        return self._is_cancelled()

    @property
    def arguments(self) -> JsonValue:
        """The arguments, decoded from JSON; None without a body.

        Raises:
            CallFailed: the body is not JSON; not retryable. Text and bytes are in `body`.
        """
        if not self.body:
            return None
        try:
            return decode_json(self.body, field="body")
        except ContractError as error:
            raise CallFailed("Bad arguments", detail=str(error), code="arguments", retryable=False) from error

    def progress(self, done: float, total: float | None = None, message: str = "", *, unit: str = "") -> None:
        """Tell the caller how far the work has come. Returns at once, in any thread of the handler's.

        A few reports a second are published at most; of more, the latest. A number that no progress can
        be (negative, infinite, not a number) is logged and not reported: the work is worth more.
        """
        # Numbers of other libraries (numpy's, say) are numbers too, but no JSON.
        numbers = [n if type(n) is int else float(n) for n in (done, total) if n is not None]
        if not all(0 <= n < math.inf for n in numbers):
            log.warning("Call %s: no progress can be %s of %s", self.id, done, total)
            return
        self._on_progress(
            Progress(
                done=numbers[0],
                total=numbers[1] if total is not None else None,
                unit=publishable(unit),
                message=publishable(message),
            )
        )

    def log(self, message: str, *, level: str = "info") -> bool:
        """Say something to the person who watches the call, in any thread of the handler's. Returns at once.

        It is kept with the call (`GET /calls/{id}/log`), published, and shown in the task's log in Airflow;
        not in the service's own log. 200 lines at once and 20 a second are told; of more, their number.

        Args:
            message: text; each of its lines is one line of the log. What would do something to a terminal or
                a log (control characters, escape sequences) is taken out, and a line longer than 8192
                characters is cut.
            level: `debug`, `info`, `warning` or `error`; any other is info.

        Returns:
            Whether all of it was told: whoever can, may say less from then on.
        """
        return self._log_writer.write(str(message), level=str(level))


HandlerResult: TypeAlias = JsonValue | Result
Handler: TypeAlias = Callable[..., HandlerResult] | Callable[..., Awaitable[HandlerResult]]
"""Takes the call, or arguments out of its body: see `longcall.service.arguments`."""


def to_succeeded(value: HandlerResult, *, max_bytes: int) -> Succeeded:
    """Return what a handler returned as it is published.

    Raises:
        CallFailed: it is neither JSON nor a sound `Result`, or too large; not retryable.
    """
    try:
        if isinstance(value, Result):
            _check_result(value)
            succeeded = Succeeded(data=value.data, content_type=value.content_type, reference=value.reference)
        else:
            succeeded = Succeeded.of(value)
        if len(succeeded.data) > max_bytes:
            raise ContractError("result", too_large(f"{len(succeeded.data)} bytes", max_bytes))
    except ContractError as error:
        raise CallFailed("Bad result", detail=str(error), code="result", retryable=False) from error
    return succeeded


def too_large(size: str, max_bytes: int) -> str:
    """Return why a result is not taken, and what to do."""
    if max_bytes <= MAX_RESULT_BYTES:
        return f"{size}, and a message takes {max_bytes}: start the service with --results-url"
    return f"{size}, and this service takes {max_bytes}: store it yourself, and return its address"


def _check_result(result: Result) -> None:
    if not isinstance(result.data, bytes):
        raise ContractError("result", f"Result takes bytes, not {type(result.data).__name__}")
    if result.reference is not None:
        result.reference.check_complete()
    content_type = result.content_type
    if not (content_type.isascii() and content_type.isprintable() and len(content_type) <= _MAX_TYPE_LENGTH):
        raise ContractError("result", f"no media type: {content_type[:_MAX_TYPE_LENGTH]!r}")
    if content_type == JSON_TYPE and result.reference is None:
        decode_json(result.data, field="result")


def failure_problem(error: BaseException) -> Problem:
    """Return an exception that is no `CallFailed` as it is published."""
    return Problem(title=type(error).__name__, detail=publishable(str(error)))
