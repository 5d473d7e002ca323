"""What a service lists is what a sweep finds there. No Airflow runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

import httpx2
import pytest

pytest.importorskip(
    "sqlalchemy", "2.0", reason="a service cannot run beside an Airflow that wants SQLAlchemy 1.4"
)
from tests.e2e.polling import wait_until
from tests.loopback import serving
from tests.plain_service import service

from longcall.airflow import LongCallSweepOperator, service_hook
from longcall.airflow.service_hook import ServiceHook
from longcall.client import CallRefused, CallUnreachable
from longcall.contract import ContractError
from longcall.testing import running_broker, running_service

TOPIC = "projects/p/topics/reports"


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to whatever is asked; yield the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with serving(Answer) as url:
        yield url


def test_open_calls_are_found_on_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_hook, "_PAGE_SIZE", 2)
    before = datetime.now(UTC) - timedelta(seconds=1)
    with running_broker() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        with running_service(service, topic=TOPIC) as url, httpx2.Client(trust_env=False) as http:
            monkeypatch.setenv("AIRFLOW_CONN_LISTED", url)
            hook = ServiceHook("listed")
            names = {f"lc-{number}" for number in range(5)}
            for name in names:
                http.post(f"{url}/forever?correlid={name}", headers={"Longcall-Caller": f"of {name}"})
            ended = http.post(f"{url}/quick?correlid=over").headers["location"]
            wait_until(lambda: http.get(f"{url}{ended}").json()["state"] == "succeeded")
            found = {call.correlid: call for call in hook.open_calls()}
            assert found.keys() == names
            for name, call in found.items():
                assert call.caller == f"of {name}"
                assert before < call.accepted_time <= datetime.now(UTC)
                status = hook.status(call.location)
                assert status is not None
                assert status.correlation_id == name


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"", CallRefused),
        (200, b"ok", ContractError),
        (200, b"[]", ContractError),
        (200, b'{"calls": [1]}', ContractError),
        (200, b'{"calls": [{"correlid": "a", "location": "/calls/a"}]}', ContractError),
        (200, b'{"calls": [{"correlid": "a", "location": "/calls/a", "accepted_time": 1}]}', ContractError),
    ],
)
def test_what_is_no_list_is_an_error_and_fails_no_sweep(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, error: type[Exception]
) -> None:
    with running_broker() as host, answering(status, body) as url:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        monkeypatch.setenv("AIRFLOW_CONN_ODD", url)
        monkeypatch.setenv("AIRFLOW_CONN_NOBODY", "http://127.0.0.1:1")
        with pytest.raises(error):
            list(ServiceHook("odd").open_calls())
        with pytest.raises(CallUnreachable):
            list(ServiceHook("nobody").open_calls())
        services = ["odd", "nobody", "no_such_connection"]
        sweep = LongCallSweepOperator(task_id="sweep", project_id="p", services=services)
        swept = sweep.execute(cast("Any", {}))
        assert swept == {"awaited": 0, "swept": [], "left": [], "not_asked": services}


def test_list_without_an_end_is_left_at_some_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_hook, "_MAX_PAGES", 3)
    with answering(200, b'{"calls": [], "next_page_token": "1"}') as url:
        monkeypatch.setenv("AIRFLOW_CONN_ODD", url)
        assert list(ServiceHook("odd").open_calls()) == []
