"""Publish: ids, times, limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import PubSub, refused


def test_message(pubsub: PubSub) -> None:
    """A message arrives as it was published, with the id that the publisher was told, and a time"""
    topic, name = pubsub.pair()
    (message_id,) = pubsub.publish(topic, "text", a="1", b="ü")
    (received,) = pubsub.receive(name, 1)
    message = received.message
    assert (message.message_id, message.data, dict(message.attributes)) == (
        message_id,
        b"text",
        {"a": "1", "b": "ü"},
    )
    assert message.message_id.isdigit()
    assert message.publish_time.astimezone(UTC) > datetime(2020, 1, 1, tzinfo=UTC)


def test_batch(pubsub: PubSub) -> None:
    """A request may hold a thousand messages; their ids come in their order"""
    topic, name = pubsub.pair()
    ids = pubsub.publish(topic, *(str(n) for n in range(1000)))
    assert len(set(ids)) == 1000
    received = {m.message.message_id: m.message.data for m in pubsub.receive(name, 1000)}
    assert [received[i] for i in ids] == [str(n).encode() for n in range(1000)]


def test_earlier_message(pubsub: PubSub) -> None:
    """A message published before a subscription was created is not in it"""
    topic = pubsub.topic()
    pubsub.publish(topic, "early")
    name = pubsub.subscribe(topic)
    pubsub.publish(topic, "late")
    assert pubsub.texts(name, 1) == ["late"]


def test_every_subscription(pubsub: PubSub) -> None:
    """Each subscription of a topic receives a message"""
    topic, first = pubsub.pair()
    second = pubsub.subscribe(topic)
    pubsub.publish(topic, "x")
    assert pubsub.texts(first, 1) == pubsub.texts(second, 1) == ["x"]


@pytest.mark.parametrize("count", [0, 1001])
def test_number_of_messages(pubsub: PubSub, count: int) -> None:
    """A request has 1 to 1,000 messages"""
    with refused("INVALID_ARGUMENT"):
        pubsub.publish(pubsub.topic(), *["x"] * count)


def test_empty_message(pubsub: PubSub) -> None:
    """A message needs data or an attribute"""
    topic = pubsub.topic()
    with refused("INVALID_ARGUMENT"):
        pubsub.publish(topic, "")
    assert pubsub.publish(topic, "", a="1")


@pytest.mark.parametrize(
    "attributes",
    [
        {str(n): "x" for n in range(101)},
        {"k" * 257: "x"},
        {"k": "x" * 1025},
        {"": "x"},
        {"googclient_x": "x"},
    ],
    ids=["101 attributes", "key of 257 bytes", "value of 1025 bytes", "empty key", "key begins with goog"],
)
@pytest.mark.emulator_deviates("attributes have no limits")
def test_attribute_limits(pubsub: PubSub, attributes: dict[str, str]) -> None:
    """A message has 100 attributes, keys of 256 bytes, values of 1,024 bytes, at most"""
    topic = pubsub.topic()
    with refused("INVALID_ARGUMENT"):
        pubsub.publish(topic, "x", **attributes)


@pytest.mark.emulator_deviates("10.0 MB are accepted")
def test_request_size(pubsub: PubSub) -> None:
    """A request has 10,000,000 bytes at most"""
    if pubsub.name == "http":
        pytest.skip("as JSON it is larger than any request may be")
    with refused("INVALID_ARGUMENT", "but the maximum value is 10000000."):
        pubsub.publish(pubsub.topic(), "x" * 10_000_000)


@pytest.mark.emulator_deviates("hangs until the client's deadline")
def test_payload_size(pubsub: PubSub) -> None:
    """A request of more than 10 MiB is refused at once"""
    topic = pubsub.topic()
    request = T.PublishRequest(topic=topic, messages=[T.PubsubMessage(data=b"x" * 11_000_000)])
    with refused("INVALID_ARGUMENT", "Request payload size exceeds the limit: 10485760 bytes."):
        pubsub.publisher.publish(request, timeout=3)


@pytest.mark.emulator_deviates("ordering keys have no limit")
def test_ordering_key_length(pubsub: PubSub) -> None:
    """An ordering key has 1,024 bytes at most"""
    with refused("INVALID_ARGUMENT"):
        pubsub.publish(pubsub.topic(), "x", ordering_key="k" * 1025)


@pytest.mark.emulator_deviates("accepts several keys in one request")
def test_one_ordering_key(pubsub: PubSub) -> None:
    """The messages of a request share their ordering key"""
    messages = [T.PubsubMessage(data=b"x", ordering_key=key) for key in ("a", "b")]
    with refused("INVALID_ARGUMENT"):
        pubsub.publisher.publish(T.PublishRequest(topic=pubsub.topic(), messages=messages))
