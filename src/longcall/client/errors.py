"""What a caller hears when a call does not end with a result."""

from __future__ import annotations

from longcall._core.errors import LongcallError
from longcall.contract import Problem

__all__ = [
    "CallCancelled",
    "CallError",
    "CallFailed",
    "CallRefused",
    "CallSilent",
    "CallTimeout",
    "CallUnreachable",
    "ResultNotFetched",
]


class CallError(LongcallError):
    """The service answered, or ran out of time."""


class CallUnreachable(CallError):
    """The service gave no answer. It may have started the work: ask again with the same id."""

    retryable = True

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class CallRefused(CallError):
    """The service answered, and did not take the call.

    Attributes:
        status: the HTTP status.
        problem: what it said.
        url: where.
        retry_after_s: how long it asks to wait before it is asked again, in seconds; None: it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        problem: Problem,
        url: str,
        retryable: bool,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.url = url
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class CallFailed(CallError):
    """The service reported that the work has failed; the message is its own."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.retryable = problem.retryable


class CallCancelled(CallError):
    """The call was cancelled, by its caller or at the service."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the call was cancelled: {detail}" if detail else "the call was cancelled")
        self.detail = detail


class CallTimeout(CallError):
    """The completion did not come in time. The work may go on until it is cancelled."""

    retryable = True


class CallSilent(CallError):
    """There was no sign of life of the call for too long. The work may go on until it is cancelled."""

    retryable = True


class ResultNotFetched(CallError):
    """The work has succeeded, and its result lies elsewhere and could not be fetched, or may not be.

    Attributes:
        url: where it lies, without its query.
        retryable: it could not be reached; another try may.
    """

    def __init__(self, message: str, *, url: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.url = url
        self.retryable = retryable
