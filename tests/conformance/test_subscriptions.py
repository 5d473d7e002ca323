"""Subscriptions: defaults, limits, updates."""

from __future__ import annotations

from typing import Any

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import DAY_S, PROJECT, PubSub, at, refused


@pytest.mark.emulator_deviates("omits the ttl and the state")
def test_defaults(pubsub: PubSub) -> None:
    """A subscription is created with the documented defaults"""
    topic, name = pubsub.pair()
    found = pubsub.get_subscription(name)
    assert (found.topic, found.ack_deadline_seconds, found.state.name) == (topic, 10, "ACTIVE")
    assert found.message_retention_duration.total_seconds() == 7 * DAY_S
    assert found.expiration_policy.ttl.total_seconds() == 31 * DAY_S
    assert not any((found.detached, found.enable_message_ordering, found.retain_acked_messages))


def test_never_expires(pubsub: PubSub) -> None:
    """An expiration policy without ttl means never"""
    _, name = pubsub.pair(expiration_policy=T.ExpirationPolicy())
    found = pubsub.get_subscription(name)
    assert "expiration_policy" in found
    assert not found.expiration_policy.ttl


def test_echo(pubsub: PubSub) -> None:
    """What a subscription is created with is what it is read with"""
    fields: dict[str, Any] = {
        "ack_deadline_seconds": 60,
        "retain_acked_messages": True,
        "message_retention_duration": at(1200),
        "labels": {"a": "1"},
        "filter": 'attributes.a = "1"',
        "enable_message_ordering": True,
        "retry_policy": {"minimum_backoff": at(5), "maximum_backoff": at(50)},
        "expiration_policy": {"ttl": at(2 * DAY_S)},
    }
    topic, name = pubsub.pair(**fields)
    found = pubsub.get_subscription(name)
    wanted = T.Subscription(name=name, topic=topic, **fields)
    assert {field: getattr(found, field) for field in fields} == {
        field: getattr(wanted, field) for field in fields
    }


@pytest.mark.emulator_deviates("the field is not filled")
def test_topic_retention_is_shown(pubsub: PubSub) -> None:
    """A subscription shows the retention of its topic"""
    name = pubsub.subscribe(pubsub.topic(message_retention_duration=at(1200)))
    assert pubsub.get_subscription(name).topic_message_retention_duration.seconds == 1200


def test_topic_must_exist(pubsub: PubSub) -> None:
    """The topic of a new subscription must exist"""
    with refused("NOT_FOUND"):
        pubsub.subscribe(f"{PROJECT}/topics/missing")


def test_existing(pubsub: PubSub) -> None:
    """A subscription that exists cannot be created"""
    topic, name = pubsub.pair()
    with refused("ALREADY_EXISTS"):
        pubsub.subscriber.create_subscription(T.Subscription(name=name, topic=topic))


def test_topic_of_another_project(pubsub: PubSub) -> None:
    """A subscription may be in another project than its topic"""
    topic = pubsub.topic()
    name = "projects/elsewhere/subscriptions/cross"
    pubsub.subscriber.create_subscription(T.Subscription(name=name, topic=topic))
    pubsub.publish(topic, "x")
    assert pubsub.texts(name, 1) == ["x"]
    pubsub.subscriber.delete_subscription(T.DeleteSubscriptionRequest(subscription=name))


@pytest.mark.parametrize("seconds", [9, 601, -1])
def test_ack_deadline_limits(pubsub: PubSub, seconds: int, request: pytest.FixtureRequest) -> None:
    """An ack deadline is 10 to 600 seconds"""
    if pubsub.name == "google" and seconds == 9:
        pytest.xfail("9 seconds are accepted")
    with refused("INVALID_ARGUMENT"):
        pubsub.pair(ack_deadline_seconds=seconds)


@pytest.mark.parametrize("seconds", [599, 31 * DAY_S + 1])
def test_retention_limits(pubsub: PubSub, seconds: int) -> None:
    """Unacknowledged messages are kept for 10 minutes to 31 days"""
    with refused("INVALID_ARGUMENT"):
        pubsub.pair(message_retention_duration=at(seconds))


@pytest.mark.emulator_deviates("accepts any ttl")
def test_ttl_minimum(pubsub: PubSub) -> None:
    """A subscription lives unused for one day at least"""
    with refused("INVALID_ARGUMENT", "You passed 23h59m59s in the request, but the minimum value is 24h."):
        pubsub.pair(expiration_policy={"ttl": at(DAY_S - 1)}, message_retention_duration=at(600))


@pytest.mark.emulator_deviates("accepts the combination that Google Pub/Sub refuses")
def test_ttl_and_retention(pubsub: PubSub) -> None:
    """A subscription's expiration must not be shorter than its message retention"""
    with refused("INVALID_ARGUMENT", "cannot be greater than the TTL"):
        pubsub.pair(expiration_policy={"ttl": at(DAY_S)})


@pytest.mark.parametrize("backoff", [(-1, 10), (601, 601), (20, 10)])
def test_retry_policy_limits(pubsub: PubSub, backoff: tuple[int, int]) -> None:
    """Backoffs are 0 to 600 seconds, the minimum not above the maximum"""
    low, high = backoff
    with refused("INVALID_ARGUMENT"):
        pubsub.pair(retry_policy={"minimum_backoff": at(low), "maximum_backoff": at(high)})


def test_missing(pubsub: PubSub) -> None:
    """A subscription that does not exist can be neither read, deleted nor pulled from"""
    name = f"{PROJECT}/subscriptions/missing"
    with refused("NOT_FOUND"):
        pubsub.get_subscription(name)
    with refused("NOT_FOUND"):
        pubsub.subscriber.delete_subscription(T.DeleteSubscriptionRequest(subscription=name))
    with refused("NOT_FOUND"):
        pubsub.pull(name)
    with refused("NOT_FOUND"), pubsub.stream(name) as stream:
        stream.next()


def test_update(pubsub: PubSub) -> None:
    """An update changes what the mask names, and nothing else"""
    _, name = pubsub.pair(ack_deadline_seconds=20)
    changed = pubsub.update_subscription(
        name, "retain_acked_messages", retain_acked_messages=True, ack_deadline_seconds=99
    )
    assert (changed.retain_acked_messages, changed.ack_deadline_seconds) == (True, 20)


@pytest.mark.emulator_deviates("labels and expiration_policy cannot be updated")
def test_update_labels_and_expiration(pubsub: PubSub) -> None:
    """Labels and expiration can be updated"""
    _, name = pubsub.pair(message_retention_duration=at(600))
    changed = pubsub.update_subscription(
        name, "labels", "expiration_policy", labels={"a": "1"}, expiration_policy={"ttl": at(DAY_S)}
    )
    assert dict(changed.labels) == {"a": "1"}
    assert changed.expiration_policy.ttl.total_seconds() == DAY_S


@pytest.mark.parametrize("path", ["name", "topic", "filter", "enable_message_ordering"])
def test_immutable(pubsub: PubSub, path: str) -> None:
    """Name, topic, filter and ordering cannot be updated"""
    _, name = pubsub.pair()
    with refused("INVALID_ARGUMENT"):
        pubsub.update_subscription(name, path)


@pytest.mark.emulator_deviates("accepts 5 seconds")
def test_update_is_checked(pubsub: PubSub) -> None:
    """An updated value has the limits of a new one"""
    _, name = pubsub.pair()
    with refused("INVALID_ARGUMENT"):
        pubsub.update_subscription(name, "ack_deadline_seconds", ack_deadline_seconds=5)


@pytest.mark.parametrize("paths", [[], ["nonsense"]])
def test_update_mask(pubsub: PubSub, paths: list[str]) -> None:
    """An update without a mask, or of an unknown field, is refused"""
    _, name = pubsub.pair()
    with refused("INVALID_ARGUMENT"):
        pubsub.update_subscription(name, *paths)


def test_delete(pubsub: PubSub) -> None:
    """A deleted subscription ends its streams as not found; one made again is empty"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "old")
    with pubsub.stream(name) as stream:
        stream.receive(1)
        pubsub.subscriber.delete_subscription(T.DeleteSubscriptionRequest(subscription=name))
        with refused("NOT_FOUND"):
            stream.next()
    pubsub.subscriber.create_subscription(T.Subscription(name=name, topic=topic))
    assert pubsub.pull(name) == []


def test_list(pubsub: PubSub) -> None:
    """The subscriptions of a project are listed"""
    _, name = pubsub.pair()
    found: set[str] = set()
    token = ""
    while True:
        request = T.ListSubscriptionsRequest(project=PROJECT, page_size=50, page_token=token)
        page = pubsub.subscriber.list_subscriptions(request)
        found |= {each.name for each in page.subscriptions}
        token = page.next_page_token
        if not token:
            break
    assert name in found


@pytest.mark.emulator_deviates("never expires")
def test_unused_one_expires(pubsub: PubSub) -> None:
    """A subscription that nobody uses is gone when its ttl is over; an open stream is use"""
    fields = {"expiration_policy": {"ttl": at(DAY_S)}, "message_retention_duration": at(600)}
    if pubsub.name == "google":
        pytest.fail("it says so itself: expiration_policy is not supported")
    topic, unused = pubsub.pair(**fields)
    used = pubsub.subscribe(topic, **fields)
    with pubsub.stream(used) as stream:
        pubsub.publish(topic, "x")
        stream.receive(1)
        pubsub.advance(DAY_S + 1)
        with refused("NOT_FOUND"):
            pubsub.get_subscription(unused)
        assert pubsub.get_subscription(used).name == used


@pytest.mark.needs_virtual_clock("ten minutes")
def test_retention(pubsub: PubSub) -> None:
    """A message that nobody acknowledges is dropped when its retention is over"""
    topic, name = pubsub.pair(message_retention_duration=at(600))
    pubsub.publish(topic, "old")
    pubsub.advance(500)
    pubsub.publish(topic, "new")
    pubsub.advance(200)
    assert pubsub.texts(name, 1) == ["new"]
    assert pubsub.pull(name) == []
