"""What a caller does with reports that are forged, malformed, repeated, late or somebody else's.

Each goes through the real router and the real watch; then comes the genuine completion, which alone counts.
The table "What a caller does with" in docs/reference/contract.md says the same in words.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.unit.client.conftest import INBOX, TOPIC, WAIT_S, World
from tests.unit.client.test_watching import JumpingLoop

from longcall.client import Arrival, CallWatch, Patience, Router
from longcall.contract import (
    CallState,
    CallStatus,
    Completion,
    Failed,
    Heartbeat,
    Message,
    Problem,
    Progress,
    Report,
    ReportBody,
    SigningKey,
    Succeeded,
    encode_report,
    is_completion,
    sign,
)
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryBackend, MemoryTransport

KEY, OTHER_KEY = SigningKey(bytes(range(32))), SigningKey(b"of somebody else, who may publish")
PATIENCE = Patience(ask_after_s=300.0)


def report(body: ReportBody, *, call: str = "call", attempt: int = 2, sequence: int = 9) -> Message:
    return encode_report(
        Report(
            correlation_id=call,
            body=body,
            id=f"{call}/{attempt}/{sequence}",
            source="/services/s",
            attempt=attempt,
            sequence=sequence,
        )
    )


def altered(message: Message, data: bytes = b'"forged"', **attributes: str) -> Message:
    named = {f"ce-{name}": value for name, value in attributes.items()}
    return replace(message, data=data, attributes={**message.attributes, **named})


GENUINE = sign(report(Succeeded.of("genuine")), [KEY])
FORGED = report(Succeeded.of("forged"))
PROGRESS = sign(report(Progress(done=5), sequence=5), [KEY])
Hostile = list[Message]
HOSTILE: dict[str, tuple[Hostile, dict[str, int]]] = {
    "forged, level 0": ([Message(data=b"forged", attributes={"correlid": "call"})], {"unsigned": 1}),
    "forged, with the genuine one's id": ([FORGED], {"unsigned": 1}),
    "forged failure": ([report(Failed(problem=Problem(title="no")))], {"unsigned": 1}),
    "wrong signature": ([sign(FORGED, [OTHER_KEY])], {"unsigned": 1}),
    "signature of another report": ([altered(GENUINE)], {"unsigned": 1}),
    "signed, and another reference": (
        [altered(GENUINE, b"", dataref="gs://evil/x", datasize="1", datadigest="sha-256=:AA==:")],
        {"unsigned": 1},
    ),
    "malformed problem": ([sign(altered(report(Failed(problem=Problem(title="x"))), b"["), [KEY])], {}),
    "malformed attempt": ([sign(altered(FORGED, attempt="-1"), [KEY])], {}),
    "malformed reference": ([sign(altered(FORGED, b"", dataref=""), [KEY])], {}),
    "unknown kind": ([sign(altered(FORGED, type="longcall.call.exploded.v9"), [KEY])], {}),
    "no correlation id": ([Message(data=b"forged", attributes={"ce-type": "x"})], {}),
    "unknown id": ([sign(report(Succeeded.of("theirs"), call="other"), [KEY])], {}),
    "duplicate": ([PROGRESS, PROGRESS, PROGRESS], {}),
    "reordered progress": ([PROGRESS, sign(report(Progress(done=3), sequence=3), [KEY])], {"outdated": 1}),
    "superseded attempt's completion": (
        [PROGRESS, sign(report(Succeeded.of("superseded"), attempt=1), [KEY])],
        {"superseded": 1},
    ),
    "superseded attempt's heartbeat": (
        [PROGRESS, sign(report(Heartbeat(), attempt=1), [KEY])],
        {"superseded": 1},
    ),
}


async def ended(watch: CallWatch) -> tuple[Arrival, list[ReportBody]]:
    """Return the report that ends the wait, and those before it."""
    before: list[ReportBody] = []
    while True:
        news = await watch.next()
        assert isinstance(news, Arrival)
        if is_completion(news.report.body):
            return news, before
        before.append(news.report.body)


async def nothing_known() -> None:
    return None


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_report_resumes_nobody_and_the_genuine_completion_does(
    world: World, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO)
    hostile, left_out = HOSTILE[name]
    for message in [*hostile, GENUINE, GENUINE]:
        await world.transport.publish(TOPIC, message)

    async with world.router.subscribe("call", inbox=INBOX) as arrivals:
        watch = CallWatch(
            arrivals, correlation_id="call", ask=nothing_known, patience=PATIENCE, signing_keys=[KEY]
        )
        completion, before = await asyncio.wait_for(ended(watch), WAIT_S)
        await completion.acknowledge()
        await world.settle()

    assert completion.report.body == Succeeded.of("genuine")
    assert watch.left_out == Counter(left_out)
    assert before == ([Progress(done=5)] if PROGRESS in hostile else [])
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bool(said) == (name not in {"unknown kind", "unknown id", "duplicate", "reordered progress"}) or (
        name == "superseded attempt's heartbeat"
    )
    assert "forged" not in caplog.text
    # What is somebody else's stays for them; all the rest is gone for good.
    assert await world.ready() == (["other/2/9"] if name == "unknown id" else [])


def test_completion_of_an_attempt_that_the_status_has_superseded_resumes_nobody() -> None:
    """The first attempt was thought dead, and its late completion comes while the second works."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        left_out, body = runner.run(superseded_by_status())

    assert left_out == {"superseded": 1}
    assert body == Succeeded.of("genuine")


async def superseded_by_status() -> tuple[Counter[str], ReportBody]:
    transport = MemoryTransport(MemoryBackend())
    await transport.create_topic(TOPIC)
    await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))

    async def ask() -> CallStatus:
        await transport.publish(TOPIC, report(Succeeded.of("superseded"), attempt=1))
        await transport.publish(TOPIC, report(Succeeded.of("genuine"), attempt=2))
        return CallStatus(correlation_id="call", state=CallState.RUNNING, attempt=2)

    async with aclosing(Router(transport)) as router, router.subscribe("call", inbox=INBOX) as arrivals:
        watch = CallWatch(arrivals, correlation_id="call", ask=ask, patience=PATIENCE)
        completion, _ = await ended(watch)
        return watch.left_out, completion.report.body


def test_call_whose_key_was_changed_while_it_ran_ends_by_its_status() -> None:
    """As a connection's secret may be: the service goes on signing with what the request brought."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        left_out, news = runner.run(signed_with_the_key_before())

    assert left_out == {"unsigned": 1}
    assert news == Succeeded.of("genuine")


async def signed_with_the_key_before() -> tuple[Counter[str], Arrival | Completion]:
    transport = MemoryTransport(MemoryBackend())
    await transport.create_topic(TOPIC)
    await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
    answers = iter([CallState.RUNNING, CallState.SUCCEEDED])

    async def ask() -> CallStatus:
        state = next(answers)
        if state is CallState.RUNNING:
            await transport.publish(TOPIC, GENUINE)
            return CallStatus(correlation_id="call", state=state, attempt=2)
        return CallStatus(correlation_id="call", state=state, attempt=2, completion=Succeeded.of("genuine"))

    async with aclosing(Router(transport)) as router, router.subscribe("call", inbox=INBOX) as arrivals:
        watch = CallWatch(
            arrivals, correlation_id="call", ask=ask, patience=PATIENCE, signing_keys=[OTHER_KEY]
        )
        return watch.left_out, await watch.next()


@pytest.mark.parametrize("make", [lambda: FORGED, lambda: report(Failed(problem=Problem(title="forged")))])
async def test_without_a_signature_the_first_completion_counts(
    world: World, make: Callable[[], Message]
) -> None:
    """What an unsigned call rests on: the id is known to nobody else. It is why calls are signed."""
    forged = make()
    await world.transport.publish(TOPIC, forged)

    async with world.router.subscribe("call", inbox=INBOX) as arrivals:
        watch = CallWatch(arrivals, correlation_id="call", ask=nothing_known, patience=PATIENCE)
        completion, _ = await asyncio.wait_for(ended(watch), WAIT_S)

    assert completion.message.data == forged.data
