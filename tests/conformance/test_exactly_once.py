"""Exactly-once delivery."""

from __future__ import annotations

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import PubSub, error_info, refused


@pytest.mark.needs_virtual_clock("ten seconds")
def test_late_ack_is_refused(pubsub: PubSub) -> None:
    """An ack after its deadline is refused, and says which; the message comes again"""
    topic, name = pubsub.pair(enable_exactly_once_delivery=True)
    pubsub.publish(topic, "x", "y")
    late, early = pubsub.receive(name, 2)
    pubsub.extend(name, 60, early)
    pubsub.advance(11)
    with refused("INVALID_ARGUMENT", "Some acknowledgement ids in the request were invalid.") as raised:
        pubsub.acknowledge(name, late, early)
    info = error_info(raised.value)
    assert (info.reason, info.domain) == ("EXACTLY_ONCE_ACKID_FAILURE", "pubsub.googleapis.com")
    assert dict(info.metadata) == {late.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
    (again,) = pubsub.receive(name, 1)
    assert again.message.message_id == late.message.message_id
    pubsub.advance(61)
    assert {m.message.message_id for m in pubsub.pull(name)} == {late.message.message_id}


@pytest.mark.needs_virtual_clock("ten seconds")
def test_superseded_ack_is_refused(pubsub: PubSub) -> None:
    """Only the latest delivery of a message can acknowledge it"""
    topic, name = pubsub.pair(enable_exactly_once_delivery=True)
    pubsub.publish(topic, "x")
    (old,) = pubsub.receive(name, 1)
    pubsub.extend(name, 0, old)
    (new,) = pubsub.receive(name, 1)
    with refused("INVALID_ARGUMENT"):
        pubsub.acknowledge(name, old)
    with refused("INVALID_ARGUMENT"):
        pubsub.extend(name, 30, old)
    pubsub.acknowledge(name, new)
    pubsub.advance(61)
    assert pubsub.pull(name) == []


def test_repeated_ack(pubsub: PubSub) -> None:
    """An ack that counted may be repeated: its answer may have been lost"""
    if pubsub.name == "google":
        pytest.skip("refused; what Google Pub/Sub does is not established")
    topic, name = pubsub.pair(enable_exactly_once_delivery=True)
    pubsub.publish(topic, "x")
    (received,) = pubsub.receive(name, 1)
    pubsub.acknowledge(name, received)
    pubsub.acknowledge(name, received)


@pytest.mark.emulator_deviates("acks are not confirmed")
def test_confirmations(pubsub: PubSub) -> None:
    """Acks and deadline changes on a stream are confirmed, or named as invalid"""
    topic, name = pubsub.pair(enable_exactly_once_delivery=True)
    with pubsub.stream(name) as stream:
        pubsub.publish(topic, "x")
        response = stream.next()
        assert response.subscription_properties.exactly_once_delivery_enabled
        (received,) = response.received_messages
        stream.send(modify_deadline_ack_ids=[received.ack_id], modify_deadline_seconds=[60])
        assert list(stream.next().modify_ack_deadline_confirmation.ack_ids) == [received.ack_id]
        stream.send(ack_ids=[received.ack_id, "nonsense"])
        confirmation = stream.next().acknowledge_confirmation
    assert list(confirmation.ack_ids) == [received.ack_id]
    assert list(confirmation.invalid_ack_ids) == ["nonsense"]


def test_can_be_switched(pubsub: PubSub) -> None:
    """Exactly-once delivery can be switched on and off"""
    _, name = pubsub.pair()
    for on in (True, False):
        changed = pubsub.update_subscription(
            name, "enable_exactly_once_delivery", enable_exactly_once_delivery=on
        )
        assert changed.enable_exactly_once_delivery is on


@pytest.mark.emulator_deviates("the combination is accepted")
def test_not_with_push(pubsub: PubSub) -> None:
    """A subscription cannot push and be exactly-once"""
    with refused("INVALID_ARGUMENT"):
        pubsub.pair(
            enable_exactly_once_delivery=True,
            push_config=T.PushConfig(push_endpoint="http://127.0.0.1:9/"),
        )
