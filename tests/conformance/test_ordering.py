"""Ordering keys."""

from __future__ import annotations

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import PubSub


def test_order(pubsub: PubSub) -> None:
    """Messages of a key are delivered in the order of publishing"""
    topic, name = pubsub.pair(enable_message_ordering=True)
    for n in range(20):
        pubsub.publish(topic, str(n), ordering_key="k")
    with pubsub.stream(name) as stream:
        received: list[bytes] = []
        while len(received) < 20:
            batch = stream.next().received_messages
            received += [m.message.data for m in batch]
            stream.send(ack_ids=[m.ack_id for m in batch])
    assert received == [str(n).encode() for n in range(20)]


def test_key_blocks_and_others_flow(pubsub: PubSub) -> None:
    """While messages of a key are out, nothing more of it is delivered; other keys are not held up"""
    topic, name = pubsub.pair(enable_message_ordering=True)
    pubsub.publish(topic, "a1", ordering_key="a")
    (first,) = pubsub.receive(name, 1)
    pubsub.publish(topic, "a2", ordering_key="a")
    pubsub.publish(topic, "b1", ordering_key="b")
    assert pubsub.texts(name, 1) == ["b1"]
    assert pubsub.pull(name) == []
    pubsub.acknowledge(name, first)
    assert pubsub.texts(name, 1) == ["a2"]


def test_without_ordering(pubsub: PubSub) -> None:
    """A subscription without ordering does not hold up a key, and still shows it"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "a1", ordering_key="a")
    pubsub.receive(name, 1)
    pubsub.publish(topic, "a2", ordering_key="a")
    (second,) = pubsub.receive(name, 1)
    assert second.message.ordering_key == "a"


@pytest.mark.emulator_deviates("redelivers that message only")
def test_redelivery(pubsub: PubSub) -> None:
    """A message that is given back brings back all later ones of its key, acknowledged or not"""
    topic, name = pubsub.pair(enable_message_ordering=True)
    pubsub.publish(topic, *"abc", ordering_key="k")
    with pubsub.stream(name) as stream:
        batch = stream.receive(3)
        stream.send(ack_ids=[batch[1].ack_id])
        stream.send(modify_deadline_ack_ids=[batch[0].ack_id], modify_deadline_seconds=[0])
        again = stream.receive(3)
        assert [m.message.data for m in again] == [b"a", b"b", b"c"]


@pytest.mark.needs_virtual_clock("ten seconds")
def test_expiry(pubsub: PubSub) -> None:
    """A deadline that passes brings back the key in order too"""
    topic, name = pubsub.pair(enable_message_ordering=True)
    pubsub.publish(topic, *"abc", ordering_key="k")
    with pubsub.stream(name) as stream:
        batch = stream.receive(3)
        stream.send(modify_deadline_ack_ids=[m.ack_id for m in batch[1:]], modify_deadline_seconds=[60, 60])
        pubsub.publish(topic, "d", ordering_key="k")
        pubsub.advance(11)
        assert [m.message.data for m in stream.receive(4)] == [b"a", b"b", b"c", b"d"]


def test_immutable(pubsub: PubSub) -> None:
    """Ordering is shown by the subscription"""
    _, name = pubsub.pair(enable_message_ordering=True)
    assert pubsub.subscriber.get_subscription(
        T.GetSubscriptionRequest(subscription=name)
    ).enable_message_ordering
