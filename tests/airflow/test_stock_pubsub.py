"""Airflow's own Pub/Sub operators, sensor and hooks work against the embedded broker, unchanged."""

from __future__ import annotations

import pytest
from tests.airflow.conftest import Subscriptions
from tests.airflow.runs import succeed

from longcall.cli.stack import LocalStack

pytestmark = pytest.mark.stack

READERS = ("pull", "sensor", "deferred", "hook", "async_hook")


def test_stock_pieces_work_unchanged(stack: LocalStack, subscriptions: Subscriptions) -> None:
    before = subscriptions.names()
    run_id = succeed(stack, "stock_pubsub")
    found = {name: stack.airflow.xcom("stock_pubsub", run_id, name) for name in READERS}
    assert found == {name: ["mine"] for name in READERS}
    assert subscriptions.names() == before
