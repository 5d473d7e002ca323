"""Pull, acknowledge, deadlines."""

from __future__ import annotations

import threading

import grpc
import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import PubSub, at, refused


@pytest.mark.parametrize("count", [0, -1])
def test_max_messages(pubsub: PubSub, count: int) -> None:
    """A pull asks for one message at least"""
    if pubsub.name == "google" and count == -1:
        pytest.xfail("a negative number is accepted")
    _, name = pubsub.pair()
    with refused("INVALID_ARGUMENT"):
        pubsub.pull(name, count)


def test_no_more_than_asked(pubsub: PubSub) -> None:
    """A pull returns no more messages than it asked for"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, *"abcde")
    first = pubsub.pull(name, 2)
    assert 1 <= len(first) <= 2
    assert len(pubsub.receive(name, 5 - len(first))) == 5 - len(first)


def test_empty_pull_ends(pubsub: PubSub) -> None:
    """A pull of an empty subscription waits for a while and returns nothing, before the client's deadline"""
    _, name = pubsub.pair()
    answer = pubsub.subscriber.pull(T.PullRequest(subscription=name, max_messages=1), timeout=1)
    assert list(answer.received_messages) == []


def test_waiting_pull(pubsub: PubSub) -> None:
    """A pull that waits returns when a message comes"""
    topic, name = pubsub.pair()
    found: list[str] = []
    waiting = threading.Thread(target=lambda: found.extend(pubsub.texts(name, 1)))
    waiting.start()
    pubsub.publish(topic, "x")
    waiting.join(20)
    assert found == ["x"]


@pytest.mark.emulator_deviates("one response holds all: the client cannot receive it")
def test_large_backlog(pubsub: PubSub) -> None:
    """A response fits into the 4 MiB that a client accepts, however large the backlog"""
    topic, name = pubsub.pair()
    for _ in range(3):
        pubsub.publish(topic, *["x" * 1_000_000] * 3)
    assert len(pubsub.receive(name, 9)) == 9


def test_acknowledged(pubsub: PubSub) -> None:
    """An acknowledged message does not come back, and a second ack is no error"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    (received,) = pubsub.receive(name, 1)
    pubsub.acknowledge(name, received)
    pubsub.acknowledge(name, received)
    if pubsub.name != "google":
        pubsub.advance(11)
    assert pubsub.pull(name) == []


@pytest.mark.needs_virtual_clock("ten seconds")
def test_deadline(pubsub: PubSub) -> None:
    """A message that is not acknowledged in time comes again, with another ack id; a late ack counts"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    (first,) = pubsub.receive(name, 1)
    pubsub.advance(9)
    assert pubsub.pull(name) == []
    pubsub.advance(2)
    (second,) = pubsub.receive(name, 1)
    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id
    pubsub.acknowledge(name, first)
    pubsub.advance(11)
    assert pubsub.pull(name) == []


@pytest.mark.needs_virtual_clock("a minute")
def test_own_deadline(pubsub: PubSub) -> None:
    """The deadline of a delivery is the subscription's, until it is changed"""
    topic, name = pubsub.pair(ack_deadline_seconds=60)
    pubsub.publish(topic, "x")
    (received,) = pubsub.receive(name, 1)
    pubsub.advance(50)
    pubsub.extend(name, 30, received)
    pubsub.advance(29)
    assert pubsub.pull(name) == []
    pubsub.advance(2)
    assert len(pubsub.receive(name, 1)) == 1


def test_nack(pubsub: PubSub) -> None:
    """A deadline of 0 gives the message back at once"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    (received,) = pubsub.receive(name, 1)
    pubsub.extend(name, 0, received)
    assert pubsub.texts(name, 1) == ["x"]


@pytest.mark.parametrize("seconds", [601, -1])
def test_deadline_limits(pubsub: PubSub, seconds: int) -> None:
    """A deadline is changed to 0 to 600 seconds"""
    if pubsub.name == "google" and seconds == 601:
        pytest.xfail("601 seconds are accepted")
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    (received,) = pubsub.receive(name, 1)
    with refused("INVALID_ARGUMENT"):
        pubsub.extend(name, seconds, received)


def test_no_ack_id(pubsub: PubSub) -> None:
    """An acknowledgement names one message at least"""
    _, name = pubsub.pair()
    with refused("INVALID_ARGUMENT"):
        pubsub.acknowledge(name)


def test_bad_ack_id(pubsub: PubSub) -> None:
    """An ack id that is none, or another subscription's, is refused"""
    topic, name = pubsub.pair()
    other = pubsub.subscribe(topic)
    pubsub.publish(topic, "x")
    (foreign,) = pubsub.receive(other, 1)
    for bad in (T.ReceivedMessage(ack_id="nonsense"), foreign):
        with refused("INVALID_ARGUMENT"):
            pubsub.acknowledge(name, bad)
        with refused("INVALID_ARGUMENT"):
            pubsub.extend(name, 10, bad)


def test_retry_policy(pubsub: PubSub) -> None:
    """After a nack a message rests, twice as long each time, up to the maximum"""
    if pubsub.name == "google":
        pytest.xfail("the first nack is not delayed")
    topic, name = pubsub.pair(retry_policy={"minimum_backoff": at(2), "maximum_backoff": at(5)})
    pubsub.publish(topic, "x")
    for rest_s in (2, 4, 5, 5):
        (received,) = pubsub.receive(name, 1)
        pubsub.extend(name, 0, received)
        pubsub.advance(rest_s - 0.5)
        assert pubsub.pull(name) == []
        pubsub.advance(0.6)


def test_health(pubsub: PubSub) -> None:
    """grpc.health.v1 is served"""
    if pubsub.name == "google":
        pytest.xfail("UNIMPLEMENTED")
    if pubsub.name == "http":
        pytest.skip("of gRPC")
    with grpc.insecure_channel(pubsub.address) as channel:
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"
