"""What becomes of a call whose start has failed, or was broken off."""

from __future__ import annotations

import pytest

from longcall.airflow.cleanup import Undoing, undoing
from longcall.airflow.killing import TaskKilled
from longcall.airflow.service_hook import RequestNotSent
from longcall.client import CallRefused, CallUnreachable
from longcall.contract import ContractError, Problem

UNANSWERED = CallUnreachable("no answer", url="/train")
NOT_SENT = RequestNotSent("no connection", url="/train")
CANCEL, DROP, LEAVE = Undoing.CANCEL, Undoing.DROP, Undoing.LEAVE


def refused(status: int, *, retryable: bool) -> CallRefused:
    return CallRefused("no", status=status, problem=Problem(title="no"), url="/train", retryable=retryable)


@pytest.mark.parametrize(
    ("error", "is_last", "expected"),
    [
        (UNANSWERED, False, LEAVE),
        (UNANSWERED, True, CANCEL),
        (NOT_SENT, False, DROP),
        (NOT_SENT, True, DROP),
        (refused(422, retryable=False), True, DROP),
        (refused(502, retryable=True), False, CANCEL),  # a proxy may have passed it on
        (ContractError("data", "not JSON"), True, DROP),
        (TaskKilled("killed"), False, CANCEL),
        (TimeoutError(), False, CANCEL),
    ],
)
def test_what_may_have_been_started_is_cancelled_unless_a_next_try_goes_on_with_it(
    error: BaseException, is_last: bool, expected: Undoing
) -> None:
    assert undoing(error, is_answered=False, is_last=is_last) is expected


@pytest.mark.parametrize("error", [UNANSWERED, ContractError("signing", "required"), TaskKilled("killed")])
def test_what_was_started_is_cancelled(error: BaseException) -> None:
    assert undoing(error, is_answered=True, is_last=False) is CANCEL
