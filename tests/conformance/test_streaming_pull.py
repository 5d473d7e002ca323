"""Streaming pull."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import WAIT_S, PubSub, Stream, refused


def test_delivers_and_acknowledges(pubsub: PubSub) -> None:
    """Messages come down the stream as they are published, and are acknowledged on it"""
    topic, name = pubsub.pair()
    with pubsub.stream(name) as stream:
        pubsub.publish(topic, "one")
        (one,) = stream.receive(1)
        pubsub.publish(topic, "two")
        (two,) = stream.receive(1)
        assert (one.message.data, two.message.data) == (b"one", b"two")
        stream.send(ack_ids=[one.ack_id])
        stream.send(modify_deadline_ack_ids=[two.ack_id], modify_deadline_seconds=[0])
        (again,) = stream.receive(1)
        assert again.message.data == b"two"


@pytest.mark.parametrize("first", [{"stream_ack_deadline_seconds": 9}, {"stream_ack_deadline_seconds": 601}])
def test_first_request(pubsub: PubSub, first: dict[str, Any]) -> None:
    """The first request names a deadline of 10 to 600 seconds"""
    _, name = pubsub.pair()
    with refused("INVALID_ARGUMENT"), pubsub.stream(name, **first) as stream:
        stream.next()


@pytest.mark.parametrize(
    "request_",
    [
        {"modify_deadline_ack_ids": ["x"]},
        {"modify_deadline_ack_ids": ["x"], "modify_deadline_seconds": [-1]},
        {"ack_ids": ["nonsense"]},
    ],
    ids=["lists of different length", "negative deadline", "malformed ack id"],
)
def test_bad_request(pubsub: PubSub, request_: dict[str, Any]) -> None:
    """A request that makes no sense ends the stream"""
    _, name = pubsub.pair()
    with pubsub.stream(name) as stream:
        stream.send(**request_)
        with refused("INVALID_ARGUMENT"):
            stream.next()


def test_subscription_cannot_change(pubsub: PubSub) -> None:
    """A later request cannot name the subscription"""
    _, name = pubsub.pair()
    with pubsub.stream(name) as stream:
        stream.send(subscription=name)
        with refused("INVALID_ARGUMENT"):
            stream.next()


@pytest.mark.emulator_deviates("max_outstanding_messages is ignored")
def test_flow_control_by_count(pubsub: PubSub) -> None:
    """A stream holds no more unacknowledged messages than it asked for; an ack by any way makes room"""
    topic, name = pubsub.pair()
    with pubsub.stream(name, max_outstanding_messages=2) as stream:
        pubsub.publish(topic, *"abcde")
        held = stream.receive(2)
        assert len(held) == 2
        assert len(pubsub.receive(name, 3)) == 3  # what it has no room for is for others
        pubsub.publish(topic, "f")
        pubsub.acknowledge(name, held[0])
        (next_,) = stream.receive(1)
        assert next_.message.data == b"f"


@pytest.mark.emulator_deviates("max_outstanding_bytes is ignored")
def test_flow_control_by_bytes(pubsub: PubSub) -> None:
    """A stream holds no more bytes than it asked for, but one message always"""
    topic, name = pubsub.pair()
    with pubsub.stream(name, max_outstanding_bytes=1000) as stream:
        pubsub.publish(topic, "x" * 5000)
        pubsub.publish(topic, "y")
        (large,) = stream.receive(1)
        assert [m.message.data for m in pubsub.pull(name)] == [b"y"]
        stream.send(ack_ids=[large.ack_id])


@pytest.mark.emulator_deviates("one response holds all: the client cannot receive it")
def test_large_backlog(pubsub: PubSub) -> None:
    """A response fits into the 4 MiB that a client accepts, however large the backlog"""
    topic, name = pubsub.pair()
    for _ in range(3):
        pubsub.publish(topic, *["x" * 1_000_000] * 3)
    with pubsub.stream(name) as stream:
        assert len(stream.receive(9)) == 9


def test_two_streams_share(pubsub: PubSub) -> None:
    """Two streams of a subscription share its messages; each goes to one of them"""
    topic, name = pubsub.pair()
    with pubsub.stream(name) as first, pubsub.stream(name) as second:
        texts: list[bytes] = []
        received = [0, 0]
        more = threading.Condition()

        def drain(which: int, stream: Stream) -> None:
            with suppress(grpc.RpcError):
                while True:
                    response = stream.next()
                    with more:
                        texts.extend(message.message.data for message in response.received_messages)
                        received[which] += len(response.received_messages)
                        more.notify_all()

        threads = [threading.Thread(target=drain, args=each) for each in enumerate((first, second))]
        for thread in threads:
            thread.start()
        published = 0
        # Each is there when it has received.
        while published < 20 or (not min(received) and published < 2000):
            pubsub.publish(topic, str(published))
            published += 1
        pubsub.publish(topic, *(str(published + n) for n in range(20)))
        with more:
            assert more.wait_for(lambda: len(texts) == published + 20, WAIT_S)
        first.cancel()
        second.cancel()
        for thread in threads:
            thread.join()
    assert sorted(texts, key=int) == [str(n).encode() for n in range(published + 20)]
    assert min(received) > 0


def test_half_close(pubsub: PubSub) -> None:
    """When the client has sent all it will, the stream ends"""
    _, name = pubsub.pair()
    with pubsub.stream(name) as stream:
        stream.half_close()
        with pytest.raises(StopIteration):
            stream.next()


def test_properties(pubsub: PubSub) -> None:
    """Every response says whether the subscription is ordered and exactly-once"""
    topic, name = pubsub.pair(enable_message_ordering=True)
    with pubsub.stream(name) as stream:
        pubsub.publish(topic, "x")
        properties = stream.next().subscription_properties
    assert properties.message_ordering_enabled
    assert not properties.exactly_once_delivery_enabled


@pytest.mark.needs_virtual_clock("ten seconds")
def test_unacknowledged_comes_again(pubsub: PubSub) -> None:
    """What a stream has not acknowledged comes again after its deadline, also when the stream is gone"""
    topic, name = pubsub.pair()
    with pubsub.stream(name) as stream:
        pubsub.publish(topic, "x")
        stream.receive(1)
    assert pubsub.pull(name) == []
    pubsub.advance(11)
    assert pubsub.texts(name, 1) == ["x"]


def test_push_subscription(pubsub: PubSub) -> None:
    """A subscription that pushes cannot be streamed from, nor pulled"""
    if pubsub.name == "google":
        pytest.xfail("a push subscription can be pulled from")
    topic = pubsub.topic()
    name = pubsub.subscribe(topic, push_config=T.PushConfig(push_endpoint="http://127.0.0.1:9/"))
    with refused("FAILED_PRECONDITION"), pubsub.stream(name) as stream:
        stream.next()
    with refused("FAILED_PRECONDITION"):
        pubsub.pull(name)
