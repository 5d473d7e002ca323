"""Whatever comes over the wire: an error with a real code, and a broker that goes on serving."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import grpc
import pytest
from google.pubsub_v1 import types as T
from tests.fuzz.conftest import INBOX, TOPIC, WAIT_S, Fuzz, Target
from tests.fuzz.messages import filled, request_classes

# What the real service answers with. INTERNAL and UNKNOWN would be bugs of ours.
DOCUMENTED = {
    "OK",
    "ABORTED",
    "ALREADY_EXISTS",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
}
METHODS = request_classes()
PUBLISH = "/google.pubsub.v1.Publisher/Publish"
CREATE = "/google.pubsub.v1.Subscriber/CreateSubscription"
DELETE = "/google.pubsub.v1.Subscriber/DeleteSubscription"
STREAMING_PULL = "/google.pubsub.v1.Subscriber/StreamingPull"


def ask(target: Target, path: str, body: bytes, *, timeout: float = 5.0) -> str:
    """Send a request; return the name of the status."""
    try:
        target.channel.unary_unary(path)(body, timeout=timeout)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def create(target: Target, wanted: T.Subscription) -> None:
    """Create a subscription."""
    assert ask(target, CREATE, T.Subscription.serialize(wanted)) == "OK"


def test_random_bytes_on_the_port(target: Target, fuzz: Fuzz) -> None:
    openings = (
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01",
    )
    for number in fuzz.rounds():
        with socket.create_connection(("127.0.0.1", target.port)) as connection, suppress(OSError):
            connection.sendall(fuzz.chance.choice(openings))
            connection.sendall(fuzz.chance.randbytes(fuzz.chance.randrange(20_000)))
            if fuzz.chance.random() < 0.5:  # gone with a reset, in the middle
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if number % 50 == 0:
            target.check()


def test_random_bytes_as_requests(target: Target, fuzz: Fuzz) -> None:
    for number in fuzz.rounds():
        path, _ = fuzz.chance.choice(METHODS)
        body = fuzz.chance.randbytes(fuzz.chance.randrange(1, 200))
        code = ask(target, path, body, timeout=0.5)
        assert code in DOCUMENTED, (path, body, code)
        if number % 100 == 0:
            target.check()


def test_random_requests(target: Target, fuzz: Fuzz) -> None:
    for number in fuzz.rounds():
        path, kind = fuzz.chance.choice(METHODS)
        request = filled(kind, fuzz.chance)
        if any(name in str(request) for name in (TOPIC, INBOX)):
            continue  # the canary's own
        code = ask(target, path, request.SerializeToString(), timeout=0.5)
        assert code in DOCUMENTED, (path, request, code)
        if number % 100 == 0:
            target.check()


def test_random_stream_requests(target: Target, fuzz: Fuzz) -> None:
    stream = target.channel.stream_stream(STREAMING_PULL)
    for number in fuzz.rounds():
        opening = T.StreamingPullRequest(subscription=INBOX, stream_ack_deadline_seconds=10)
        kind = T.StreamingPullRequest.pb()
        later = [filled(kind, fuzz.chance).SerializeToString() for _ in range(3)]
        first = [T.StreamingPullRequest.serialize(opening)] if fuzz.chance.random() < 0.5 else []
        code = "OK"
        try:
            for _ in stream(iter(first + later), timeout=0.5):
                pass
        except grpc.RpcError as error:
            code = error.code().name
        assert code in DOCUMENTED, (later, code)
        if number % 50 == 0:
            target.check()


def test_hostile_filters(target: Target, fuzz: Fuzz) -> None:
    parts = ["(", ")", "NOT ", "-", "attributes", ".", ":", "=", "!=", '"', "a", "hasPrefix("]
    parts += ["\\", "\\u12", "\\x", "\\7"]
    hostile = ["(" * 256, "NOT " * 64, "-" * 256, '"' + "\\" * 254, 'attributes:"\\uD800"']
    hostile.append("attributes:" + "a" * 300)
    for number in fuzz.rounds():
        made = "".join(fuzz.chance.choice(parts) for _ in range(fuzz.chance.randrange(60)))
        wanted = hostile[number] if number < len(hostile) else made
        name = f"projects/p/subscriptions/f-{number}"
        request = T.Subscription(name=name, topic=TOPIC, filter=wanted)
        code = ask(target, CREATE, T.Subscription.serialize(request))
        assert code in {"OK", "INVALID_ARGUMENT"}, (wanted, code)
        if code == "OK":
            delete = T.DeleteSubscriptionRequest.serialize(T.DeleteSubscriptionRequest(subscription=name))
            assert ask(target, DELETE, delete) == "OK"


@pytest.mark.parametrize(
    ("size", "count", "codes"),
    [
        (10_999_999, 1, {"INVALID_ARGUMENT"}),
        (40_000_000, 1, {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"}),
        (1, 1001, {"INVALID_ARGUMENT"}),
        (1, 100_000, {"INVALID_ARGUMENT"}),
    ],
)
def test_oversize_requests(target: Target, size: int, count: int, codes: set[str]) -> None:
    messages = [T.PubsubMessage(data=b"x" * size)] * count
    body = T.PublishRequest.serialize(T.PublishRequest(topic=TOPIC, messages=messages))
    assert ask(target, PUBLISH, body, timeout=WAIT_S) in codes
    target.check()


def test_reader_that_never_reads(target: Target) -> None:
    """A stream that is opened and not read holds up nobody, and what is sent to it is bounded."""
    name = "projects/p/subscriptions/lazy"
    create(target, T.Subscription(name=name, topic=TOPIC, filter="attributes:lazy"))
    ended = threading.Event()

    def requests() -> Iterator[bytes]:
        opening = T.StreamingPullRequest(subscription=name, stream_ack_deadline_seconds=10)
        yield T.StreamingPullRequest.serialize(opening)
        ended.wait(WAIT_S)

    with grpc.insecure_channel(target.address) as channel:
        stream = channel.stream_stream(STREAMING_PULL)(requests())
        message = T.PubsubMessage(data=b"x" * 1_000_000, attributes={"lazy": "1"})
        body = T.PublishRequest.serialize(T.PublishRequest(topic=TOPIC, messages=[message]))
        for _ in range(50):
            assert ask(target, PUBLISH, body, timeout=WAIT_S) == "OK"
        target.forget()
        target.check()
        assert target.resident_mb() < 400
        ended.set()
        stream.cancel()


async def test_thousand_idle_streams(target: Target) -> None:
    name = "projects/p/subscriptions/idle"
    create(target, T.Subscription(name=name, topic=TOPIC, filter="attributes:idle"))
    opening = T.StreamingPullRequest(subscription=name, stream_ack_deadline_seconds=10)
    channels = [grpc.aio.insecure_channel(target.address) for _ in range(10)]
    streams = [channels[n % 10].stream_stream(STREAMING_PULL)() for n in range(1000)]
    for stream in streams:
        await stream.write(T.StreamingPullRequest.serialize(opening))
    await asyncio.to_thread(target.check)
    messages = [T.PubsubMessage(data=b"x", attributes={"idle": f"{n}"}) for n in range(20)]
    body = T.PublishRequest.serialize(T.PublishRequest(topic=TOPIC, messages=messages))
    assert await asyncio.to_thread(ask, target, PUBLISH, body) == "OK"
    reading = {asyncio.ensure_future(stream.read()) for stream in streams}
    received = 0
    while received < len(messages):
        done, reading = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
        assert done
        for each in done:
            received += len(T.StreamingPullResponse.deserialize(each.result()).received_messages)
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    for channel in channels:
        await channel.close()
    await asyncio.to_thread(target.forget)


def test_client_that_is_killed(target: Target) -> None:
    """A process with open streams and unacknowledged messages vanishes; its messages come again."""
    script = f"""
import sys, grpc
from google.pubsub_v1 import types as T
channel = grpc.insecure_channel("{target.address}")
opening = T.StreamingPullRequest.serialize(
    T.StreamingPullRequest(subscription="{INBOX}", stream_ack_deadline_seconds=10))
def requests():
    yield opening
    sys.stdin.read()
streams = [channel.stream_stream("{STREAMING_PULL}")(requests()) for _ in range(20)]
print("open", flush=True)
next(streams[0])
"""
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()
        process.communicate(timeout=WAIT_S)
    target.check()
