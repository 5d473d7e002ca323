"""What is published when publishing fails: completions until they are out, the rest once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from longcall._core.clock import SystemClock
from longcall.contract import (
    Accepted,
    Completion,
    Failed,
    Heartbeat,
    Progress,
    Report,
    ReportBody,
    Succeeded,
    decode_report,
)
from longcall.service.outbox import Outbox, Publisher
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/t"
INBOX = "projects/p/subscriptions/s"
DONE = Succeeded.of("done")


class World:
    """A publisher on the memory transport, and somebody who listens."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.transport = MemoryTransport(self.backend)
        self.publisher = Publisher(
            self.transport, source="/services/tests", clock=SystemClock(), progress_interval_s=0.01
        )

    def open(self, name: str = "a", *, topic: str = TOPIC) -> Outbox:
        return self.publisher.open(name, topic=topic, traceparent="")

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
    yield world
    await world.publisher.aclose()
    await world.transport.aclose()


def bodies(reports: list[Report]) -> list[ReportBody]:
    return [report.body for report in reports]


def test_reports_leave_in_order_and_of_progress_only_the_latest() -> None:
    outbox = Outbox()
    for body in (DONE, Progress(done=1), Heartbeat(), Accepted(), Progress(done=2)):
        outbox.put(body)
    left = []
    while (body := outbox.take()) is not None:
        left.append(body)
    assert left == [Accepted(), Progress(done=2), Heartbeat(), DONE]


async def test_completion_outlives_an_outage_and_older_reports_do_not(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.create()
    failed_once = _logged(caplog, "not published yet")
    with world.backend.outage():
        outbox = world.open()
        for body in (Accepted(), Progress(done=1), DONE):
            outbox.put(body)
        await failed_once
    (only,) = await world.listen(1)
    assert only.body == DONE
    assert only.sequence == 3
    assert await world.publisher.flush(30) == 0


async def test_completion_waits_for_its_topic_and_the_log_says_what_to_do(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    failed_once = _logged(caplog, f"create the topic {TOPIC}")
    world.open().put(DONE)
    await failed_once
    assert caplog.records[-1].levelno == logging.ERROR
    await world.create()
    assert await world.publisher.flush(30) == 0  # which does not wait for the slow pace of such retries
    assert bodies(await world.listen(1)) == [DONE]


async def test_call_whose_topic_is_missing_holds_up_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.create()
    failed_once = _logged(caplog, "create the topic")
    for number in range(40):
        world.open(f"lost{number}", topic="projects/p/topics/missing").put(DONE)
    await failed_once
    world.open("a").put(DONE)
    assert [report.correlation_id for report in await world.listen(1)] == ["a"]


@pytest.mark.parametrize(
    "unpublishable", [Succeeded(data=b"x" * 10_000_001), Succeeded(data=b"", content_type="x" * 1025)]
)
async def test_completion_that_no_message_can_carry_becomes_a_failure(
    world: World, unpublishable: Completion
) -> None:
    await world.create()
    world.open().put(unpublishable)
    (report,) = await world.listen(1)
    assert isinstance(report.body, Failed)
    assert (report.body.problem.code, report.body.problem.retryable) == ("result", False)


async def test_flush_counts_what_could_not_be_published(world: World) -> None:
    await world.create()
    with world.backend.outage():
        world.open().put(DONE)
        assert await world.publisher.flush(0.01) == 1


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
