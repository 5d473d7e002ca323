"""`kill -9` of the broker under load, again and again on one data directory.

Every publish that was acknowledged is delivered to every subscription; nothing whose ack was answered
comes back; nothing is delivered that nobody has published; every resource that was created is there.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import types as T
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

TOPIC = "projects/p/topics/load"
PLAIN, ONCE = "projects/p/subscriptions/plain", "projects/p/subscriptions/once"
PUBLISHERS = 3
WAIT_S = 30.0


@dataclass
class Ledger:
    """What clients have seen, over all rounds. Texts name messages."""

    tried: set[str] = field(default_factory=set)
    published: set[str] = field(default_factory=set)
    delivered: dict[str, set[str]] = field(default_factory=lambda: {PLAIN: set(), ONCE: set()})
    acked_s: dict[str, dict[str, float]] = field(default_factory=lambda: {PLAIN: {}, ONCE: {}})
    snapshots: set[str] = field(default_factory=set)
    redelivered: int = 0
    violations: list[str] = field(default_factory=list)
    lock: threading.Condition = field(default_factory=threading.Condition)  # told of each publish


@dataclass
class Clients:
    """The bare methods of one broker."""

    publisher: PublisherGrpcTransport
    subscriber: SubscriberGrpcTransport


@contextmanager
def clients(address: str) -> Iterator[Clients]:
    with grpc.insecure_channel(address) as channel:
        anyone = AnonymousCredentials()
        yield Clients(
            PublisherGrpcTransport(channel=channel, credentials=anyone),
            SubscriberGrpcTransport(channel=channel, credentials=anyone),
        )


def start(port: int, folder: Path) -> subprocess.Popen[str]:
    """Start the broker; return when it listens."""
    command = [sys.executable, "-m", "longcall.cli.main", "broker", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder), "--log-level", "warning"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"Server started, listening on {port}\n"
    return process


def publish(to: Clients, ledger: Ledger, name: str) -> None:
    """Publish until the broker is gone."""
    for n in range(1_000_000):
        texts = {f"{name}-{n}-{i}" for i in range(3)}
        with ledger.lock:
            ledger.tried |= texts
        messages = [T.PubsubMessage(data=text.encode()) for text in texts]
        to.publisher.publish(T.PublishRequest(topic=TOPIC, messages=messages), timeout=WAIT_S)
        with ledger.lock:
            ledger.published |= texts
            ledger.lock.notify_all()


def consume(to: Clients, ledger: Ledger, subscription: str, *, until_empty: bool = False) -> None:
    """Pull and acknowledge until the broker is gone, or nothing is left."""
    while True:
        asked_s = time.monotonic()
        request = T.PullRequest(subscription=subscription, max_messages=50, return_immediately=until_empty)
        received = to.subscriber.pull(request, timeout=WAIT_S).received_messages
        if until_empty and not received:
            return
        texts = [each.message.data.decode() for each in received]
        with ledger.lock:
            for text in texts:
                if ledger.acked_s[subscription].get(text, asked_s) < asked_s:
                    ledger.violations.append(f"{text} came back to {subscription} after its ack")
                ledger.redelivered += text in ledger.delivered[subscription]
                ledger.delivered[subscription].add(text)
        ack_ids = [each.ack_id for each in received]
        acknowledgement = T.AcknowledgeRequest(subscription=subscription, ack_ids=ack_ids)
        to.subscriber.acknowledge(acknowledgement, timeout=WAIT_S)
        with ledger.lock:
            now_s = time.monotonic()
            for text in texts:
                ledger.acked_s[subscription].setdefault(text, now_s)


def snapshot(to: Clients, ledger: Ledger, name: str) -> None:
    """Take a snapshot."""
    full = f"projects/p/snapshots/{name}"
    to.subscriber.create_snapshot(T.CreateSnapshotRequest(name=full, subscription=PLAIN), timeout=WAIT_S)
    with ledger.lock:
        ledger.snapshots.add(full)


def storm(port: int, folder: Path, ledger: Ledger, round_: int, chance: random.Random) -> None:
    """Start the broker, load it, and kill it at some moment."""
    process = start(port, folder)
    enough = len(ledger.published) + chance.randrange(10, 600)

    def until_it_dies(work: Callable[..., None], *args: str) -> None:
        with clients(f"127.0.0.1:{port}") as to, suppress(grpc.RpcError):
            work(to, ledger, *args)

    jobs: list[tuple[Callable[..., None], str]] = [(publish, f"r{round_}p{i}") for i in range(PUBLISHERS)]
    jobs += [(consume, PLAIN), (consume, ONCE)]
    if round_ % 20 == 0:  # each of them holds every later message
        jobs.append((snapshot, f"snap-{round_}"))
    threads = [threading.Thread(target=until_it_dies, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    with ledger.lock:
        assert ledger.lock.wait_for(lambda: len(ledger.published) >= enough, WAIT_S)
    process.send_signal(chance.choice([signal.SIGKILL] * 9 + [signal.SIGTERM]))
    process.communicate(timeout=WAIT_S)
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert not ledger.violations


@pytest.mark.timeout(1800)
def test_nothing_is_lost_and_nothing_comes_back(tmp_path: Path, rounds: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ledger, chance = Ledger(), random.Random(20261123)
    process = start(port, tmp_path)
    with clients(f"127.0.0.1:{port}") as to:
        to.publisher.create_topic(T.Topic(name=TOPIC))
        to.subscriber.create_subscription(T.Subscription(name=PLAIN, topic=TOPIC))
        once = T.Subscription(name=ONCE, topic=TOPIC, enable_exactly_once_delivery=True)
        to.subscriber.create_subscription(once)
    process.kill()
    process.communicate()
    for round_ in range(rounds):
        storm(port, tmp_path, ledger, round_, chance)
    process = start(port, tmp_path)
    try:
        with clients(f"127.0.0.1:{port}") as to:
            for subscription in (PLAIN, ONCE):
                consume(to, ledger, subscription, until_empty=True)
                assert ledger.published <= ledger.delivered[subscription] <= ledger.tried
            listed = to.subscriber.list_snapshots(
                T.ListSnapshotsRequest(project="projects/p", page_size=1000)
            )
            assert ledger.snapshots <= {each.name for each in listed.snapshots}
    finally:
        process.kill()
        process.communicate()
    assert not ledger.violations
    print(
        f"{rounds} kills: {len(ledger.published)} messages acknowledged to their publisher, all delivered "
        f"twice over, {ledger.redelivered} of {2 * len(ledger.published)} more than once, none after its "
        f"ack; {len(ledger.snapshots)} snapshots, all there"
    )
