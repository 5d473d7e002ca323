"""The wait in the worker: the same event as the triggerer's, and the end of it from outside."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
import pytest
from google.api_core.exceptions import NotFound
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

pytest.importorskip(
    "sqlalchemy", "2.0", reason="a service cannot run beside an Airflow that wants SQLAlchemy 1.4"
)
from longcall.airflow.blocking import wait_in_worker
from longcall.airflow.completion import stored_report
from longcall.airflow.record import CallRecord
from longcall.airflow.trigger import CompletionTrigger
from longcall.contract import Succeeded
from longcall.service import Call, Service
from longcall.testing import running_broker, running_service

CORRELID = "lc-waits-in-the-worker"
INBOX = f"projects/tests/subscriptions/{CORRELID}"
TOPIC = "projects/tests/topics/reports"


def _service(released: threading.Event) -> Service:
    service = Service("worker")

    @service.handler("/work")
    async def work(call: Call) -> str:
        while not released.is_set():  # noqa: ASYNC110 # set by another thread
            await asyncio.sleep(0.05)
        return "done"

    return service


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, released: threading.Event
) -> Iterator[CallRecord]:
    with running_broker() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        PublisherClient().create_topic(name=TOPIC)
        with running_service(_service(released), topic="reports", project="tests") as url:
            monkeypatch.setenv("AIRFLOW_CONN_WORKER", url)
            SubscriberClient().create_subscription(
                request={"name": INBOX, "topic": TOPIC, "filter": f'attributes.correlid = "{CORRELID}"'}
            )
            answer = httpx2.post(f"{url}/work?correlid={CORRELID}", trust_env=False)
            yield CallRecord(
                correlid=CORRELID,
                inbox=INBOX,
                lasting=False,
                project_id="tests",
                gcp_conn_id="google_cloud_default",
                http_conn_id="worker",
                location=f"{url}{httpx2.URL(answer.headers['location']).path}",
            )


def test_event_has_the_completion_and_the_inbox_is_deleted(
    record: CallRecord, released: threading.Event
) -> None:
    released.set()

    event = wait_in_worker(CompletionTrigger(call=record.to_json()))

    assert (event["status"], event["correlid"]) == ("completed", CORRELID)
    body = stored_report(event["completion"], correlid=CORRELID).body
    assert isinstance(body, Succeeded)
    assert body.value() == "done"
    with pytest.raises(NotFound):
        SubscriberClient().get_subscription(subscription=INBOX)


class _Killed(BaseException):
    pass


def _kill(number: int, frame: FrameType | None) -> Any:
    raise _Killed


def test_signal_ends_the_wait_at_once_and_leaves_the_call_to_whoever_catches_it(record: CallRecord) -> None:
    before = signal.signal(signal.SIGALRM, _kill)
    threads = threading.active_count()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1)
        with pytest.raises(_Killed):
            wait_in_worker(CompletionTrigger(call=record.to_json()))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("longcall-wait")]
    assert threading.active_count() <= threads + 1  # asgiref keeps a thread of its own
    assert SubscriberClient().get_subscription(subscription=INBOX)
    assert httpx2.get(record.location, trust_env=False).json()["state"] == "running"
