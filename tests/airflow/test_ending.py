"""How a call is ended at its service: found if need be, once, again while nobody answers. No Airflow runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import httpx2
import pytest

pytest.importorskip(
    "sqlalchemy", "2.0", reason="a service cannot run beside an Airflow that wants SQLAlchemy 1.4"
)
from tests.loopback import serving
from tests.plain_service import service

from longcall.airflow.ending import Ending, end_call
from longcall.airflow.record import CallRecord
from longcall.testing import running_broker, running_service

TOPIC = "projects/p/topics/reports"
RECORD = CallRecord(
    correlid="lc-1",
    inbox="projects/p/subscriptions/lc-1",
    lasting=False,
    project_id="p",
    gcp_conn_id="google_cloud_default",
    http_conn_id="ending",
    endpoint="/forever",
)
STARTED = "2026-01-31T12:00:00.000000Z"


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The service's, behind the connection `ending`."""
    with running_broker() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        with running_service(service, topic=TOPIC) as address:
            monkeypatch.setenv("AIRFLOW_CONN_ENDING", address)
            yield address


def start(url: str, path: str) -> str:
    """Start the call; return its status resource."""
    answer = httpx2.post(f"{url}{path}?correlid=lc-1", trust_env=False)
    return str(answer.url.join(answer.headers["location"]))


def state(location: str) -> str:
    return str(httpx2.get(location, trust_env=False).json()["state"])


def wait_for(location: str, wanted: str) -> None:
    while state(location) != wanted:
        time.sleep(0.01)


@pytest.mark.parametrize("is_known", [True, False], ids=["location known", "answer lost"])
def test_call_is_cancelled_once(url: str, is_known: bool) -> None:
    location = start(url, "/forever")
    record = replace(RECORD, location=location, started_time=STARTED) if is_known else RECORD

    assert end_call(record) is Ending.ASKED
    wait_for(location, "cancelled")
    assert end_call(record) is Ending.OVER


def test_call_that_has_ended_is_let_be(url: str) -> None:
    location = start(url, "/quick")
    wait_for(location, "succeeded")
    assert end_call(replace(RECORD, location=location, started_time=STARTED)) is Ending.OVER


def test_service_that_does_not_know_the_call_is_asked_once(url: str) -> None:
    assert end_call(RECORD, patience_s=60) is Ending.NOT_KNOWN


def test_start_that_is_still_on_its_way_is_waited_for(url: str) -> None:
    locations: list[str] = []
    late = threading.Timer(1.0, lambda: locations.append(start(url, "/forever")))
    late.start()
    assert end_call(RECORD, patience_s=60, is_under_way=True) is Ending.ASKED
    late.join()
    wait_for(locations[0], "cancelled")


def test_start_that_never_arrives_is_waited_for_no_longer_than_told(url: str) -> None:
    assert end_call(RECORD, patience_s=0.5, is_under_way=True) is Ending.NOT_KNOWN


def test_service_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ENDING", "http://127.0.0.1:9")
    assert end_call(RECORD, patience_s=0.5) is Ending.UNREACHED


def test_call_that_was_never_aimed_at_a_service_needs_nothing() -> None:
    assert end_call(replace(RECORD, http_conn_id="")) is Ending.NOT_KNOWN


@contextmanager
def bare_service(methods: list[str]) -> Iterator[str]:
    """A service of level 0 that takes POST alone; notes what it was asked."""

    class Bare(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            methods.append(self.command)
            self.send_response(405)
            self.end_headers()

        do_POST = do_DELETE = do_GET  # as http.server wants them

        def log_message(self, *args: object) -> None:
            pass

    with serving(Bare) as url:
        yield url


def test_bare_service_is_asked_nothing_that_could_start_or_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    methods: list[str] = []
    with bare_service(methods) as address:
        monkeypatch.setenv("AIRFLOW_CONN_ENDING", address)
        assert end_call(RECORD, is_under_way=True) is Ending.NOT_KNOWN
        assert end_call(replace(RECORD, started_time=STARTED)) is Ending.NOT_KNOWN
    assert methods == ["GET"]


def test_call_whose_connection_is_gone_is_not_known_any_more() -> None:
    """It fails neither the task that gives the call up nor a sweep that finds more to do."""
    assert end_call(replace(RECORD, http_conn_id="no_such_connection")) is Ending.NOT_KNOWN
