"""A broker process that hostile clients must not bring down: long with `make fuzz`, short in `make test`."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import types as T
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

WAIT_S = 30.0
TOPIC, INBOX = "projects/p/topics/canary", "projects/p/subscriptions/canary"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the fuzzing be longer than in an ordinary test run."""
    parser.addoption("--fuzz-seconds", type=float, default=2.0, help="for each test (default: %(default)s)")


@dataclass
class Target:
    """The broker, and a client of it that means well."""

    port: int
    channel: grpc.Channel
    log: Path
    _process: subprocess.Popen[str]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def check(self) -> None:
        """It still delivers, and has met nothing that it did not expect."""
        assert self._process.poll() is None, self.log.read_text()
        anyone = AnonymousCredentials()
        publisher = PublisherGrpcTransport(channel=self.channel, credentials=anyone)
        subscriber = SubscriberGrpcTransport(channel=self.channel, credentials=anyone)
        text = uuid4().hex.encode()
        message = T.PubsubMessage(data=text)
        publisher.publish(T.PublishRequest(topic=TOPIC, messages=[message]), timeout=WAIT_S)
        received = subscriber.pull(T.PullRequest(subscription=INBOX, max_messages=10), timeout=WAIT_S)
        assert [each.message.data for each in received.received_messages] == [text]
        ack_ids = [each.ack_id for each in received.received_messages]
        subscriber.acknowledge(T.AcknowledgeRequest(subscription=INBOX, ack_ids=ack_ids), timeout=WAIT_S)
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def forget(self) -> None:
        """Empty the canary's inbox: what a test has published is in it too."""
        subscriber = SubscriberGrpcTransport(channel=self.channel, credentials=AnonymousCredentials())
        seek = T.SeekRequest(subscription=INBOX, time={"seconds": 4_000_000_000})
        subscriber.seek(seek, timeout=WAIT_S)

    def resident_mb(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    log = tmp_path / "broker.log"
    command = [sys.executable, "-m", "longcall.cli.main", "broker", "--port", "0", "--until-stdin-ends"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    assert process.stdout is not None
    port = int(process.stdout.readline().split()[-1])
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]) as channel:
        anyone = AnonymousCredentials()
        PublisherGrpcTransport(channel=channel, credentials=anyone).create_topic(T.Topic(name=TOPIC))
        SubscriberGrpcTransport(channel=channel, credentials=anyone).create_subscription(
            T.Subscription(name=INBOX, topic=TOPIC)
        )
        found = Target(port, channel, log, process)
        try:
            yield found
            found.check()
        finally:
            process.terminate()
            process.communicate(timeout=WAIT_S)


@dataclass
class Fuzz:
    """Chance, and how long to go on."""

    chance: random.Random
    until_s: float

    def rounds(self) -> Iterator[int]:
        """Count until the time is over; once at least."""
        number = 0
        while not number or time.monotonic() < self.until_s:
            yield number
            number += 1


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    seconds = float(request.config.getoption("--fuzz-seconds"))
    seed = 20261123 if seconds <= 2 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    return Fuzz(random.Random(seed), time.monotonic() + seconds)
