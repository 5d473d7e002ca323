"""Airflow's own Pub/Sub operators, sensor and hooks work against the embedded broker, unchanged."""

from __future__ import annotations

import re

import pytest
from tests.airflow.conftest import Subscriptions
from tests.airflow.runs import check_success, wait_until

from longcall.cli.stack import LocalStack

pytestmark = pytest.mark.stack

DEFERRED = re.compile(r"Received executor event with state success for .*'stock_pubsub'.*'deferred'")
READERS = ("pull", "sensor", "deferred", "hook", "async_hook")


def test_stock_pieces_work_unchanged(stack: LocalStack, subscriptions: Subscriptions) -> None:
    before = subscriptions.names()
    run_id = stack.airflow.trigger("stock_pubsub")
    # A deferral that ends before the scheduler has learnt of it is failed by it (ADR 3).
    log = stack.logs_dir / "scheduler.log"
    wait_until(lambda: DEFERRED.search(log.read_text()) is not None, "the scheduler knows of the deferral")
    subscriptions.publish("stock", b"mine", **{"for": "late"})
    check_success(stack, "stock_pubsub", run_id)
    found = {name: stack.airflow.xcom("stock_pubsub", run_id, name) for name in READERS}
    assert found == {name: ["mine"] for name in READERS}
    assert subscriptions.names() == before
