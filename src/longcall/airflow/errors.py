"""longcall's errors as Airflow's: what a retry cannot mend fails the task at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from longcall._core.errors import LongcallError
from longcall.airflow.version_compat import AirflowException, AirflowFailException, AirflowNotFoundException
from longcall.client import CallFailed

__all__ = ["LoginFailed", "WaitFailed", "airflow_errors"]


class AnswerRejected(LongcallError):
    """The task's own check does not accept how the service answered the start. The call was cancelled."""

    retryable = True


class WaitFailed(LongcallError):
    """The triggerer could not wait for the call: its inbox is gone, or may not be read.

    Retryable unless the credentials forbid it: a retry makes a new inbox.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class LoginFailed(LongcallError):
    """There is no login for a request: the connection is wrong, or who makes tokens does not answer.

    Nothing was sent to the service.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Translate errors on their way out of a task.

    Raises:
        AirflowFailException: the task fails without a retry, for the same would happen again.
        AirflowException: the task fails, and Airflow's own retries apply.
    """
    try:
        yield
    except LongcallError as error:
        kind = AirflowException if error.retryable else AirflowFailException
        raise kind(_said(error)) from error
    except AirflowNotFoundException as error:
        raise AirflowFailException(
            f"{error}: create it with `airflow connections add`, or name one that exists "
            "in http_conn_id, gcp_conn_id or longcall_conn_id"
        ) from error


def _said(error: LongcallError) -> str:
    if not isinstance(error, CallFailed):
        return str(error)
    wait_ms = error.problem.retry_after_ms
    if not error.retryable:
        hint = "the service says that a retry does not help: the task's own retries are not used"
    elif wait_ms is not None:
        hint = f"a retry may help, says the service, after {wait_ms / 1000:g} s: see the task's retry_delay"
    else:
        hint = "a retry may help"
    return f"The service reported a failure: {error} ({hint})"
