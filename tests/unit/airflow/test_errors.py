"""What a failed task says, and whether Airflow tries it again."""

from __future__ import annotations

import pytest

from longcall.airflow.errors import airflow_errors
from longcall.airflow.version_compat import AirflowException, AirflowFailException
from longcall.client import CallFailed
from longcall.contract import Problem


@pytest.mark.parametrize(
    ("problem", "kind", "says"),
    [
        (
            Problem(title="Unknown model", detail="gpt-0", code="model", retryable=False),
            AirflowFailException,
            r"Unknown model: gpt-0 \[model\] \(.*retry does not help",
        ),
        (Problem(title="No disk left"), AirflowException, r"No disk left \(a retry may help\)"),
        (Problem(title="Busy", retry_after_ms=90_000), AirflowException, r"Busy .*after 90 s: .*retry_delay"),
    ],
)
def test_failure_is_in_the_service_s_words_with_a_hint(problem: Problem, kind: type, says: str) -> None:
    with pytest.raises(AirflowException, match=says) as failure, airflow_errors():
        raise CallFailed(problem)
    assert type(failure.value) is kind
