"""Dead letters."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.pubsub import PROJECT, PubSub, refused


def _fail(pubsub: PubSub, name: str, times: int) -> list[int]:
    attempts = []
    for _ in range(times):
        (received,) = pubsub.receive(name, 1)
        attempts.append(received.delivery_attempt)
        pubsub.extend(name, 0, received)
    return attempts


def _letters(pubsub: PubSub, **policy: Any) -> tuple[str, str, str]:
    """Create a topic, a subscription, and a subscription of its dead letters."""
    graves = pubsub.topic()
    grave = pubsub.subscribe(graves)
    topic, name = pubsub.pair(dead_letter_policy={"dead_letter_topic": graves} | policy)
    return topic, name, grave


def test_forwarded(pubsub: PubSub) -> None:
    """After five failed deliveries a message goes to the dead-letter topic and is told whence it came"""
    topic, name, grave = _letters(pubsub)
    pubsub.publish(topic, "x", a="1")
    assert _fail(pubsub, name, 5) == [1, 2, 3, 4, 5]
    assert pubsub.pull(name) == []
    (letter,) = pubsub.receive(grave, 1)
    attributes = dict(letter.message.attributes)
    assert letter.message.data == b"x"
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime").startswith("20")
    assert attributes == {
        "a": "1",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": name.rpartition("/")[2],
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
    }


def test_default(pubsub: PubSub) -> None:
    """The number of attempts is five unless it is set"""
    _, name, _ = _letters(pubsub)
    assert pubsub.get_subscription(name).dead_letter_policy.max_delivery_attempts == 5


@pytest.mark.parametrize("attempts", [4, 101])
def test_limits(pubsub: PubSub, attempts: int) -> None:
    """The number of attempts is 5 to 100"""
    if pubsub.name == "google":
        pytest.xfail("OUT_OF_RANGE")
    with refused("INVALID_ARGUMENT", "The value for max_delivery_attempts is too"):
        _letters(pubsub, max_delivery_attempts=attempts)


def test_topic_must_exist(pubsub: PubSub) -> None:
    """The dead-letter topic must exist"""
    with refused("NOT_FOUND"):
        pubsub.pair(dead_letter_policy={"dead_letter_topic": f"{PROJECT}/topics/missing"})


def test_attempts_without_policy(pubsub: PubSub) -> None:
    """Without a dead-letter policy attempts are not counted"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    assert _fail(pubsub, name, 2) == [0, 0]


@pytest.mark.needs_virtual_clock("fifty seconds")
def test_deadlines_count(pubsub: PubSub) -> None:
    """A deadline that passes is a failed delivery too"""
    topic, name, grave = _letters(pubsub)
    pubsub.publish(topic, "x")
    for _ in range(5):
        pubsub.receive(name, 1)
        pubsub.advance(11)
    assert pubsub.texts(grave, 1) == ["x"]
