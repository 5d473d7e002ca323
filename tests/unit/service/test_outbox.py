"""What is published when publishing fails: completions until they are out, the rest once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from longcall._core.clock import SystemClock
from longcall.contract import (
    Accepted,
    CallRequest,
    Completion,
    Failed,
    Heartbeat,
    Progress,
    Report,
    Succeeded,
    decode_report,
)
from longcall.service.observer import NullObserver
from longcall.service.outbox import Outbox
from longcall.service.reports import Pending, Publisher, RunReports
from longcall.service.store import MEMORY, open_store
from longcall.service.tracing import NullTracing
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/t"
INBOX = "projects/p/subscriptions/s"
MISSING = "projects/p/topics/missing"
DONE = Succeeded.of("done")


class World:
    """An outbox on a store and a transport in memory, and somebody who listens."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.backend = MemoryBackend()
        self.transport = MemoryTransport(self.backend)
        self.store = open_store(MEMORY, service="s", clock=self.clock)
        self.publisher = Publisher(
            self.transport, source="/services/tests", topic=TOPIC, observer=NullObserver()
        )
        self.outbox = Outbox(self.store, self.publisher, clock=self.clock, tracing=NullTracing())

    async def end(self, name: str = "a", completion: Completion = DONE, *, topic: str = "") -> None:
        """Have a call whose completion is due."""
        request = CallRequest(correlation_id=name, reply_topic=topic)
        await self.store.accept(request, handler="/h", max_open=1000)
        await self.store.claim(["/h"], owner="me")
        await self.store.end(name, completion, attempt=1, sequence=3)
        self.outbox.wake()

    def reports(self, name: str = "a") -> RunReports:
        return RunReports(
            self.publisher,
            correlation_id=name,
            attempt=1,
            reply_topic="",
            signing_keys=(),
            traceparent="",
            clock=self.clock,
            interval_s=0.01,
        )

    async def create(self, topic: str = TOPIC, inbox: str = INBOX) -> None:
        await self.transport.create_topic(topic)
        await self.transport.create_inbox(InboxSpec(name=inbox, topic=topic, filter=""))

    async def listen(self, count: int, *, inbox: str = INBOX) -> list[Report]:
        reports = []
        async with self.transport.open_stream(inbox, lease_s=600) as stream:
            while len(reports) < count:
                delivery = await anext(aiter(stream))
                report = decode_report(delivery.message)
                assert report is not None
                reports.append(report)
                await self.transport.acknowledge(inbox, [delivery.ack_id])
        return reports


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.outbox.start()
    yield world
    await world.outbox.aclose()
    await world.store.aclose()
    await world.transport.aclose()


def test_reports_leave_in_order_and_of_each_kind_only_the_latest() -> None:
    pending = Pending()
    for body in (Progress(done=1), Heartbeat(), Accepted(), Progress(done=2)):
        pending.put(body)
    assert len(pending) == 3
    left = []
    while (body := pending.take()) is not None:
        left.append(body)
    assert left == [Accepted(), Progress(done=2), Heartbeat()]


async def test_completion_is_numbered_after_the_reports_that_still_go_before_it(world: World) -> None:
    await world.create()
    reports = world.reports()
    reports.put(Accepted())
    reports.put(Progress(done=1))
    assert reports.close() == 3
    reports.put(Progress(done=2))
    await reports.wait_until_sent()
    assert [(each.sequence, each.body) for each in await world.listen(2)] == [
        (1, Accepted()),
        (2, Progress(done=1)),
    ]


async def test_reports_of_an_outage_are_dropped_and_hold_up_nobody(world: World) -> None:
    await world.create()
    reports = world.reports()
    with world.backend.outage():
        reports.put(Accepted())
        assert reports.close() == 2
        await reports.wait_until_sent()
    await world.end()
    assert [each.body for each in await world.listen(1)] == [DONE]


async def test_completion_outlives_an_outage(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.create()
    failed_once = _logged(caplog, "not published yet")
    with world.backend.outage():
        await world.end()
        await failed_once
    (only,) = await world.listen(1)
    assert (only.body, only.sequence, only.attempt) == (DONE, 3, 1)
    assert await world.outbox.flush(30) == 0


async def test_in_an_outage_one_alone_tries(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.create()
    failed_once = _logged(caplog, "not published yet")
    with world.backend.outage():
        await world.end("first")
        await failed_once
        for number in range(100):
            await world.end(str(number))
        await asyncio.sleep(0.5)
        assert caplog.text.count("not published yet") < 20
    assert len(await world.listen(101)) == 101


async def test_completion_waits_for_its_topic_and_the_log_says_what_to_do(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    failed_once = _logged(caplog, f"create the topic {TOPIC}")
    await world.end()
    await failed_once
    assert caplog.records[-1].levelno == logging.ERROR
    await world.create()
    assert await world.outbox.flush(30) == 0  # which does not wait for the slow pace of such retries
    assert [each.body for each in await world.listen(1)] == [DONE]


async def test_call_whose_topic_is_missing_holds_up_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.create()
    failed_once = _logged(caplog, "create the topic")
    for number in range(40):
        await world.end(f"lost{number}", topic=MISSING)
    await failed_once
    await world.end("a")
    assert [report.correlation_id for report in await world.listen(1)] == ["a"]


@pytest.mark.parametrize(
    "unpublishable", [Succeeded(data=b"x" * 10_000_001), Succeeded(data=b"", content_type="x" * 1025)]
)
async def test_completion_that_no_message_can_carry_becomes_a_failure(
    world: World, unpublishable: Completion
) -> None:
    await world.create()
    await world.end("a", unpublishable)
    (report,) = await world.listen(1)
    assert isinstance(report.body, Failed)
    assert (report.body.problem.code, report.body.problem.retryable) == ("result", False)


async def test_held_completion_waits_until_it_is_released(world: World) -> None:
    await world.create()
    world.outbox.hold("a")
    await world.end("a")
    await world.end("b")
    assert [report.correlation_id for report in await world.listen(1)] == ["b"]
    world.outbox.release("a")
    assert [report.correlation_id for report in await world.listen(1)] == ["a"]


async def test_flush_counts_what_could_not_be_published(world: World) -> None:
    await world.create()
    with world.backend.outage():
        await world.end()
        assert await world.outbox.flush(0.01) == 1
    assert [each.body for each in await world.listen(1)] == [DONE]


def _logged(caplog: pytest.LogCaptureFixture, words: str) -> asyncio.Future[None]:
    """Return a future that is done when a log line holds these words."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    emit = caplog.handler.emit

    def notice(record: logging.LogRecord) -> None:
        emit(record)
        if words in record.getMessage() and not done.done():
            done.set_result(None)

    caplog.handler.emit = notice  # type: ignore[method-assign]
    return done


class AnHourLater(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


@pytest.mark.parametrize(
    ("topic", "is_given_up"), [("projects/p/topics/a", True), ("projects/p/topics/b", False)]
)
async def test_completion_for_a_calls_own_topic_that_is_gone_for_good_is_given_up_and_no_other(
    world: World, caplog: pytest.LogCaptureFixture, topic: str, is_given_up: bool
) -> None:
    """A caller that has abandoned its call has deleted its topic; a topic that others use may come back."""
    not_yet = _logged(caplog, "not published yet")
    await world.end(topic=topic)
    await not_yet
    await world.outbox.aclose()
    assert await world.store.count_due() == 1

    later = Outbox(world.store, world.publisher, clock=AnHourLater(), tracing=NullTracing())
    said = _logged(caplog, "deleted its topic" if is_given_up else "not published yet")
    later.start()
    await said

    assert await later.flush(30 if is_given_up else 0.1) == (0 if is_given_up else 1)
    await later.aclose()
