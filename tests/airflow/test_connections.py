"""A `longcall` connection in a real Airflow, to a service that takes Google ID tokens alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.airflow.conftest import CALLS_CONNECTION, LOCKED_PORT
from tests.airflow.runs import call_of, succeed, wait_until
from tests.e2e.google_accounts import MACHINE, GoogleAccounts

from longcall.cli.stack import LocalStack

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

URL = f"http://127.0.0.1:{LOCKED_PORT}"


@pytest.fixture(scope="module", autouse=True)
def _locked_service(stack: LocalStack, google: GoogleAccounts) -> Iterator[None]:
    settings = {
        "LONGCALL_AUTH": "google-id-token",
        "LONGCALL_AUTH_AUDIENCE": URL,
        "LONGCALL_AUTH_ALLOWED_CALLERS": MACHINE,
        "LONGCALL_AUTH_CERTIFICATES_URL": google.certificates_url,
    }
    stack.start_component(
        "locked-service",
        "env",
        *(f"{name}={value}" for name, value in settings.items()),
        *(sys.executable, "-m", "longcall.cli.main", "serve", "services:service"),
        *("--port", str(LOCKED_PORT), "--project", stack.project, "--topic", stack.topic),
        *("--store", str(stack.home / "locked-service")),
        port=LOCKED_PORT,
    )
    yield
    stack.kill_component("locked-service")


def test_one_connection_says_it_all(stack: LocalStack, subscriptions: Subscriptions) -> None:
    """Secret and tokens in worker and triggerer alike; and none of them is to be seen anywhere."""
    before = subscriptions.names()

    run_id = succeed(stack, "connected")

    for task in ("call", "steps.wait_for_completion"):
        assert stack.airflow.xcom("connected", run_id, task)["echo"] == {"delay_s": 2}
        call = call_of(stack, "connected", run_id, task)
        assert call["is_signed"]
        assert call["longcall_conn_id"] == "calls"
        log = stack.airflow.task_log("connected", run_id, task)
        # With another key in the triggerer the report would be left out, and the call end all the same.
        assert "did not sign" not in log
        assert "did not arrive" not in log
        for secret in (CALLS_CONNECTION["password"], "whsec_", "eyJ"):
            assert secret not in log
            assert secret not in str(call)
    assert subscriptions.names() == before


def test_triggerer_logs_in_to_cancel(stack: LocalStack, google: GoogleAccounts) -> None:
    run_id = stack.airflow.trigger("connected_held")
    stack.airflow.wait_for_task("connected_held", run_id, "call", states=frozenset({"deferred"}))
    location = call_of(stack, "connected_held", run_id)["location"]
    wait_until(
        lambda: "Waiting for the completion" in stack.airflow.task_log("connected_held", run_id, "call"),
        "the triggerer waits",
    )
    stack.airflow.patch_task("connected_held", run_id, "call", new_state="failed")

    def state() -> str:
        headers = {"Authorization": f"Bearer {google.id_token(MACHINE, URL)}"}
        return str(httpx2.get(location, headers=headers, trust_env=False).json()["state"])

    wait_until(lambda: state() == "cancelled", "the triggerer has cancelled the call")


def test_button_tests_a_connection_before_it_is_saved(
    stack: LocalStack, subscriptions: Subscriptions
) -> None:
    before = subscriptions.names()

    passed, message = stack.airflow.test_connection("not_saved", CALLS_CONNECTION)
    assert passed, message
    assert [line.split(": ")[:2] for line in message.splitlines()] == [
        [subject, "ok"] for subject in ("Pub/Sub", "inbox", "reading", "deletion", "service", "login")
    ]
    assert subscriptions.names() - before == set()

    passed, message = stack.airflow.test_connection("not_saved", {**CALLS_CONNECTION, "password": "short"})
    assert not passed
    assert "password: a signing secret has at least 24 characters" in message
