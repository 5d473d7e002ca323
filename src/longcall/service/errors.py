"""What goes wrong in a service before a call is accepted, and how a handler says that its work has failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from longcall._core.errors import LongcallError
from longcall.contract import Problem
from longcall.service.wording import publishable

__all__ = [
    "CallConflict",
    "CallFailed",
    "ServiceConfigError",
    "ServiceUnavailable",
    "StoreUnavailable",
    "UnknownCall",
]


class ServiceConfigError(LongcallError):
    """The service cannot start as it is configured.

    Attributes:
        setting: the option or environment variable.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting}: {reason}")
        self.setting = setting


class CallConflict(LongcallError):
    """A second request with a known correlation id asks for something else; answered 422."""


class UnknownCall(LongcallError):
    """No call of that id is known here, or no longer; answered 404."""


class ServiceUnavailable(LongcallError):
    """The service stops, or has as many calls waiting as it takes; answered 503."""

    retryable = True


class StoreUnavailable(ServiceUnavailable):
    """The call store cannot be read or written now, and nothing was changed: a full disk, a foreign lock."""


class CallFailed(LongcallError):
    """Raised by a handler to fail its call with these words.

    Any other exception fails it too, with the exception's type and text, as retryable.
    """

    def __init__(
        self,
        title: str,
        *,
        detail: str = "",
        code: str = "",
        retryable: bool = True,
        retry_after: timedelta | None = None,
    ) -> None:
        """Say what went wrong.

        Args:
            title: the same each time this kind of thing goes wrong.
            detail: what went wrong this time.
            code: for programs.
            retryable: False fails the caller's task for good.
            retry_after: how long the caller should wait before it tries again.
        """
        super().__init__(f"{title}: {detail}" if detail else title)
        self.retryable = retryable
        self.problem = Problem(
            title=publishable(title),
            detail=publishable(detail),
            code=publishable(code),
            retryable=retryable,
            retry_after_ms=None if retry_after is None else round(retry_after.total_seconds() * 1000),
        )

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return the failure that `problem` tells of."""
        failure = cls(problem.title, detail=problem.detail, retryable=problem.retryable)
        failure.problem = problem
        return failure
