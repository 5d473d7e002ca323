"""What many waits cost: memory, idle CPU, and the time to wake all at once, beside Airflow's own trigger.

    python bench/waits [--shared 100 1000 10000] [--per-call 100 1000] [--stock 100 500]

The triggers of longcall (`CompletionTrigger`, both inbox policies) and of the Google provider
(`PubsubPullTrigger`, one subscription for each, as its users have it) run as they are, each kind and number
in a fresh process with one event loop, as a triggerer's runner has. The embedded broker is a process of its
own. Airflow's supervisor is not there: what it takes to store completions and events is in `bench/mapped`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.types import PubsubMessage
from triggers import PROJECT, SHARED, TOPIC, correlation_id

from longcall.cli.stack import LocalStack
from longcall.client import PerCallInbox, SharedInbox
from longcall.transport.pubsub import PubSubTransport

HERE = Path(__file__).parent
KINDS = {"shared": "longcall, shared", "per_call": "longcall, per_call", "stock": "PubsubPullTrigger"}
HEARTBEATS_APART_S = 30.0
BATCH = 500
AT_ONCE = 16


class Process:
    """The process with the triggers."""

    def __init__(self, kind: str, number: int, stack: LocalStack) -> None:
        command = [sys.executable, str(HERE / "triggers.py"), kind, str(number)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=stack.environment,
        )

    async def ask(self, command: str) -> dict[str, float]:
        """Send a command; return its answer."""
        return await asyncio.to_thread(self._ask, command)

    def _ask(self, command: str) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):  # not what Airflow prints
                answer: dict[str, float] = json.loads(line)
                return answer
        sys.exit("the process with the triggers has died")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


async def create_inboxes(broker: str, kind: str, number: int) -> None:
    """Create what the triggers wait in, and one more to warm up with."""
    transport = PubSubTransport(emulator_host=broker)
    places = asyncio.Semaphore(AT_ONCE)

    async def create(n: int) -> None:
        async with places:
            await transport.create_inbox(PerCallInbox(topic=TOPIC).address(correlation_id(kind, n)).inbox)

    if kind == "shared":
        await transport.create_inbox(SharedInbox(topic=TOPIC, name=SHARED).address(f"{SHARED}.0").inbox)
    else:
        await asyncio.gather(*(create(n) for n in range(number)))
    await transport.aclose()


class Publisher:
    """Publishes many messages with few requests."""

    def __init__(self, broker: str) -> None:
        self._channel = grpc.aio.insecure_channel(broker)
        transport = PublisherGrpcAsyncIOTransport(channel=self._channel, credentials=AnonymousCredentials())
        self._client = PublisherAsyncClient(transport=transport)

    async def completions(self, kind: str, number: int) -> float:
        """Publish the completion of every call; return the instant before the first."""
        began_s = time.time()
        for first in range(0, number, BATCH):
            messages = [
                PubsubMessage(data=b"42", attributes={"correlid": correlation_id(kind, n)})
                for n in range(first, min(first + BATCH, number))
            ]
            await self._client.publish(topic=TOPIC, messages=messages)
        return began_s

    async def heartbeats(self, kind: str, number: int, *, seconds: float) -> None:
        """Publish a heartbeat of every call each half minute."""
        per_s = number / HEARTBEATS_APART_S
        began_s = time.monotonic()
        sent = 0
        while (passed_s := time.monotonic() - began_s) < seconds:
            due = int(passed_s * per_s)
            messages = [
                PubsubMessage(
                    attributes={
                        "correlid": correlation_id(kind, n % number),
                        "ce-type": "longcall.call.heartbeat.v1",
                        "ce-specversion": "1.0",
                        "ce-id": f"h{n}",
                        "ce-source": "/services/bench",
                    }
                )
                for n in range(sent, due)
            ]
            if messages:
                await self._client.publish(topic=TOPIC, messages=messages)
            sent = due
            await asyncio.sleep(0.2)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._channel.close()


async def measure(kind: str, number: int, *, seconds: float) -> str:
    """Return one line of the table."""
    with LocalStack(
        dags_folder=HERE, airflow=False, broker=True, project=PROJECT, topic="completions"
    ) as stack:
        broker = stack.pubsub_host
        await create_inboxes(broker, kind, number)
        process, publisher = Process(kind, number, stack), Publisher(broker)
        try:
            empty = await process.ask("measure 1")
            await process.ask("start")
            idle = await process.ask(f"measure {seconds}")
            busy = "-"
            if kind != "stock":
                beating = asyncio.create_task(publisher.heartbeats(kind, number, seconds=seconds + 2))
                await asyncio.sleep(1)
                busy = f"{100 * (await process.ask(f'measure {seconds}'))['cpu']:.1f} %"
                await beating
            waking = asyncio.create_task(process.ask("wake"))
            await asyncio.sleep(1)
            began_s = await publisher.completions(kind, number)
            woken = await waking
        finally:
            process.close()
            await publisher.aclose()
    kb = (idle["rss_bytes"] - empty["rss_bytes"]) / number / 1000
    return (
        f"{KINDS[kind]:22}{number:7}{kb:11.1f} KB{100 * idle['cpu']:9.1f} %{busy:>12}"
        f"{woken['last_s'] - began_s:9.2f} s{1000 * (woken['last_s'] - began_s) / number:9.2f} ms"
        f"{int(idle['connections']):7}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--per-call", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--stock", type=int, nargs="*", default=[100, 500])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to look at an idle process")
    options = parser.parse_args()
    print(
        f"{'':22}{'waits':>7}{'a wait':>14}{'idle CPU':>11}{'heartbeats':>12}{'woken':>11}{'each':>12}"
        f"{'conns':>7}",
        flush=True,
    )
    for kind, numbers in (
        ("shared", options.shared),
        ("per_call", options.per_call),
        ("stock", options.stock),
    ):
        for number in numbers:
            print(asyncio.run(measure(kind, number, seconds=options.seconds)), flush=True)


if __name__ == "__main__":
    main()
