"""`longcall broker` as a process: started, killed, restarted, stopped, and started wrongly."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import GoogleAPICallError, ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage

TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/inbox"
WAIT_S = 30.0
UNAVAILABLE_FOR_A_WHILE = Retry(if_exception_type(ServiceUnavailable), initial=0.1, timeout=WAIT_S)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "longcall.cli.main", "broker", *arguments]


class Process:
    """A running broker."""

    def __init__(self, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            _command("--port", "0", "--project", "p", "--topic", "completions", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        self.first_line = self.popen.stdout.readline()
        started = re.fullmatch(r"Server started, listening on (\d+)\n", self.first_line)
        assert started, self.first_line + self.popen.communicate(timeout=WAIT_S)[1]
        self.address = f"127.0.0.1:{started[1]}"
        self.second_line = self.popen.stdout.readline()

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit status and what it still printed."""
        self.popen.send_signal(how)
        out, _ = self.popen.communicate(timeout=WAIT_S)
        return self.popen.returncode, out


@contextmanager
def broker(*arguments: str) -> Iterator[Process]:
    process = Process(*arguments)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.end(signal.SIGKILL)


def test_broker_loads_the_messages_of_googles_client_and_not_the_client() -> None:
    """It would be half of the time that a broker takes to start, and a third of its memory."""
    command = [sys.executable, "-X", "importtime", *_command("--port", "0", "--until-stdin-ends")[1:]]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert "Server started" in ran.stdout
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "google.pubsub_v1.types.pubsub" in loaded
    assert not any(name.startswith(("google.pubsub_v1.services", "google.api_core")) for name in loaded)


@contextmanager
def clients(address: str) -> Iterator[tuple[PublisherClient, SubscriberClient]]:
    with grpc.insecure_channel(address) as channel:
        anyone = AnonymousCredentials()
        yield (
            PublisherClient(transport=PublisherGrpcTransport(channel=channel, credentials=anyone)),
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel, credentials=anyone)),
        )


def _publish_until_it_dies(address: str, acknowledged: list[str], enough: Future[None]) -> None:
    with clients(address) as (publisher, _), suppress(GoogleAPICallError):
        while True:
            messages: list[Any] = [{"data": b"x" * 100, "attributes": {"correlid": "c"}}] * 3
            answer = publisher.publish(topic=TOPIC, messages=messages, retry=None, timeout=WAIT_S)
            acknowledged.extend(answer.message_ids)
            if len(acknowledged) > 300 and not enough.done():
                enough.set_result(None)


def _drain(address: str) -> list[str]:
    received: list[str] = []
    with clients(address) as (_, subscriber):
        while True:
            answer = subscriber.pull(
                request={"subscription": INBOX, "max_messages": 1000, "return_immediately": True}
            )
            if not answer.received_messages:
                return received
            received += [item.message.message_id for item in answer.received_messages]
            subscriber.acknowledge(
                subscription=INBOX, ack_ids=[item.ack_id for item in answer.received_messages]
            )


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_every_acknowledged_publish_is_delivered_after_a_kill(tmp_path: Path) -> None:
    data_dir = ("--data-dir", str(tmp_path))
    acknowledged: list[list[str]] = [[] for _ in range(4)]
    with broker(*data_dir) as first:
        with clients(first.address) as (_, subscriber):
            subscriber.create_subscription(
                request={"name": INBOX, "topic": TOPIC, "filter": 'attributes.correlid = "c"'}
            )
        enough: list[Future[None]] = [Future() for _ in acknowledged]
        publishing = [
            threading.Thread(target=_publish_until_it_dies, args=(first.address, ids, future))
            for ids, future in zip(acknowledged, enough, strict=True)
        ]
        for thread in publishing:
            thread.start()
        for future in enough:
            future.result(WAIT_S)
        assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
        for thread in publishing:
            thread.join()
    with broker(*data_dir) as second:
        received = _drain(second.address)
        assert len(received) == len(set(received))
        assert {message_id for ids in acknowledged for message_id in ids} <= set(received)
        second.end(signal.SIGKILL)
    with broker(*data_dir) as third:
        assert _drain(third.address) == []  # what was acknowledged to the broker is gone for good


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_broker_stops_cleanly_on_a_signal(how: signal.Signals) -> None:
    with broker() as process:
        status, out = process.end(how)
    assert status == 0
    assert f"export PUBSUB_EMULATOR_HOST={process.address}" in process.second_line
    assert "Stopping" in out


def _refused(*arguments: str) -> str:
    """Start a broker that cannot be started; return the one line that it says."""
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_port_in_use_is_one_clear_error() -> None:
    with broker() as process:
        said = _refused("--port", process.address.rpartition(":")[2])
    assert f"cannot listen on {process.address}" in said
    assert "in use; choose another host or port" in said


def test_data_directory_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--data-dir" in _refused("--port", "0", "--data-dir", str(tmp_path / "file"))
    (tmp_path / "broker.sqlite").write_bytes(os.urandom(5000))
    assert "damaged" in _refused("--port", "0", "--data-dir", str(tmp_path))


def test_data_directory_of_a_running_broker_is_refused(tmp_path: Path) -> None:
    with broker("--data-dir", str(tmp_path)):
        assert "in use by another broker" in _refused("--port", "0", "--data-dir", str(tmp_path))


def test_topic_name_that_is_none_is_one_clear_error() -> None:
    assert "Invalid [topics] name" in _refused("--port", "0", "--topic", "x")


@pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")
def test_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    """No file of the broker may grow: a publish is refused, and after that memory says what the file says."""
    with broker("--data-dir", str(tmp_path)) as process, clients(process.address) as (publisher, subscriber):
        subscriber.create_subscription(name=INBOX, topic=TOPIC)
        kept = list(publisher.publish(topic=TOPIC, messages=[PubsubMessage(data=b"kept")]).message_ids)
        size = max(file.stat().st_size for file in tmp_path.iterdir())
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        lost = [PubsubMessage(data=b"x" * 100_000)]
        with pytest.raises(ServiceUnavailable, match="could not be written"):
            publisher.publish(topic=TOPIC, messages=lost, retry=None, timeout=WAIT_S)
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, unlimited)
        kept += publisher.publish(topic=TOPIC, messages=lost, retry=UNAVAILABLE_FOR_A_WHILE).message_ids
        assert _drain(process.address) == kept
        publisher.get_topic(topic=TOPIC)
