"""What a resumed task makes of an event."""

from __future__ import annotations

from typing import Any, cast

import pytest

from longcall.airflow.errors import WaitFailed
from longcall.airflow.record import CallRecord
from longcall.airflow.steps import finish
from longcall.client import ResultAccess

RECORD = CallRecord(
    correlid="lc-2", inbox="projects/p/subscriptions/lc-2", lasting=False, project_id="p", gcp_conn_id="g"
)


@pytest.mark.parametrize("event", [{"status": "completed"}, {"status": "completed", "correlid": "lc-1"}])
def test_event_that_is_not_of_the_call_is_none_of_its_own(event: dict[str, str]) -> None:
    """Airflow on SQLite gives a new trigger the id of an old one, whose event may still be on its way."""
    with pytest.raises(WaitFailed, match="not of its call lc-2") as caught:
        finish(event, RECORD, cast("Any", {"ti": None}), ResultAccess())
    assert caught.value.retryable
