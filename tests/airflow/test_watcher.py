"""The asset watcher's trigger on the embedded broker: what it has not seen stored comes again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from longcall.airflow.version_compat import AdvanceItem
from longcall.airflow.watcher import ServiceCompletionsTrigger
from longcall.contract import Heartbeat, Message, Report, ReportBody, Succeeded, encode_report
from longcall.testing import running_broker
from longcall.transport.pubsub import PubSubTransport

pytestmark = pytest.mark.needs_airflow("3.0", "Airflow 2 has no asset watchers")

TOPIC = "projects/tests/topics/reports"
WATCHED = {"topic": "reports", "subscription": "watcher", "project_id": "tests", "source": "/services/digits"}


@pytest.fixture
async def transport(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubTransport]:
    with running_broker() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        connected = PubSubTransport(emulator_host=host)
        await connected.create_topic(TOPIC)
        await connected.create_inbox(
            ServiceCompletionsTrigger(**WATCHED)._watched().inbox(project="tests", topic=WATCHED["topic"])
        )
        yield connected
        await connected.aclose()


async def publish(
    transport: PubSubTransport, correlid: str, *, body: ReportBody | None = None, source: str = ""
) -> None:
    report = Report(
        correlation_id=correlid,
        body=body or Succeeded(data=b"1", content_type="application/json"),
        id=f"{correlid}/1/1",
        source=source or WATCHED["source"],
    )
    await transport.publish(TOPIC, encode_report(report))


async def test_each_completion_of_the_service_fires_once_and_nothing_else_does(
    transport: PubSubTransport,
) -> None:
    await publish(transport, "lc-other", source="/services/other")
    await publish(transport, "lc-alive", body=Heartbeat())
    await transport.publish(TOPIC, Message(data=b"bare", attributes={"correlid": "lc-bare"}))
    for correlid in ("lc-1", "lc-2"):
        await publish(transport, correlid)

    events = cast("AsyncGenerator[Any, None]", ServiceCompletionsTrigger(**WATCHED).run())
    async with asyncio.timeout(60), aclosing(events):
        payloads = [(await anext(events)).payload, (await anext(events)).payload]

    assert {payload["correlid"] for payload in payloads} == {"lc-1", "lc-2"}


async def test_completion_whose_event_may_not_be_stored_comes_again(transport: PubSubTransport) -> None:
    """The triggerer ends right after the event; so it is with `run`, and with Airflow's shared stream."""
    await publish(transport, "lc-1")
    events = cast("AsyncGenerator[Any, None]", ServiceCompletionsTrigger(**WATCHED).run())
    async with asyncio.timeout(60), aclosing(events):
        assert (await anext(events)).payload["correlid"] == "lc-1"

    producer = ServiceCompletionsTrigger.create_shared_stream_producer(WATCHED)
    completions = cast("AsyncGenerator[Any, None]", producer.open_stream())
    async with asyncio.timeout(60), aclosing(completions):
        completion, ack_id = await anext(completions)
        assert completion["correlid"] == "lc-1"
        await producer.advance([AdvanceItem(ack_id, _outcome(acked=0, failed=1))])
        completion, ack_id = await anext(completions)
        assert completion["correlid"] == "lc-1"
        await producer.advance([AdvanceItem(ack_id, _outcome(acked=1, failed=0))])
        await publish(transport, "lc-2")
        completion, ack_id = await anext(completions)
        assert completion["correlid"] == "lc-2"
    await producer.aclose()


async def test_connection_says_what_to_watch(
    transport: PubSubTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"conn_type": "longcall", "extra": {"topic": "reports", "project": "tests"}}
    monkeypatch.setenv("AIRFLOW_CONN_CALLS", json.dumps(said))
    await publish(transport, "lc-1")

    trigger = ServiceCompletionsTrigger(subscription="watcher", longcall_conn_id="calls")
    events = cast("AsyncGenerator[Any, None]", trigger.run())
    async with asyncio.timeout(60), aclosing(events):
        assert (await anext(events)).payload["correlid"] == "lc-1"


def _outcome(*, acked: int, failed: int) -> Any:
    shared_stream = pytest.importorskip("airflow.triggers.shared_stream")
    return shared_stream.AdvanceOutcome(acked=acked, failed=failed)
