"""Two processes, as two triggerers are, on one shared inbox: each message reaches any of them."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

from longcall.contract import Message, inbox_filter
from longcall.testing import running_broker
from longcall.transport import InboxSpec
from longcall.transport.pubsub import PubSubTransport

WAITING = Path(__file__).with_name("waiting.py")
TOPIC = "projects/p/topics/reports"
INBOX = "projects/p/subscriptions/both"
CALLS = 300
NAMES = ("one", "two")
DELIVERIES_PER_CALL = 6
"""Two on average: half of what arrives is the other's, and half of that comes back once more, and so on."""


async def publish_all(host: str) -> None:
    transport = PubSubTransport(emulator_host=host)
    ids = [f"both.{name}-{n}" for name in NAMES for n in range(CALLS)]
    random.shuffle(ids)
    for each in ids:
        await transport.publish(TOPIC, Message(data=each.encode(), attributes={"correlid": each}))
    await transport.aclose()


async def create_inbox(host: str) -> None:
    transport = PubSubTransport(emulator_host=host)
    await transport.create_topic(TOPIC)
    await transport.create_inbox(
        InboxSpec(name=INBOX, topic=TOPIC, filter=inbox_filter("both"), expires_after_s=None)
    )
    await transport.aclose()


def start(host: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WAITING), host, INBOX, name, str(CALLS)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_hand_each_other_what_is_not_theirs_and_settle() -> None:
    with running_broker() as host:
        asyncio.run(create_inbox(host))
        processes = [start(host, name) for name in NAMES]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            asyncio.run(publish_all(host))
            answers = [json.loads(process.communicate()[0]) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()

    for name, answer in zip(NAMES, answers, strict=True):
        expected = {f"both.{name}-{n}" for n in range(CALLS)}
        assert answer["results"] == {each: each for each in expected}
    delivered = sum(answer["delivered"] for answer in answers)
    assert len(NAMES) * CALLS <= delivered <= DELIVERIES_PER_CALL * len(NAMES) * CALLS
    print(f"{delivered / (len(NAMES) * CALLS):.2f} deliveries for each completion")
