"""Topics."""

from __future__ import annotations

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import PROJECT, PubSub, at, refused

NAMES = {
    "projects/p/topics/ab": False,
    "projects/p/topics/abc": True,
    "projects/p/topics/" + "a" * 255: True,
    "projects/p/topics/" + "a" * 256: False,
    "projects/p/topics/1abc": False,
    "projects/p/topics/goog-abc": False,
    "projects/p/topics/aB-_.~+%9": True,
    "projects/p/topics/a b c": False,
    "projects/p/topics/abc/def": False,
    "projects/p/topics/ünïcode": False,
    "projects/p/subscriptions/abc": False,
    "topics/abc": False,
    "": False,
}


@pytest.mark.parametrize(("name", "good"), NAMES.items())
def test_name(pubsub: PubSub, name: str, good: bool) -> None:
    """A topic's name has 3 to 255 of certain characters, a letter first, and does not begin with goog"""
    topic = T.Topic(name=name)
    if good:
        assert pubsub.publisher.create_topic(topic).name == name
    else:
        with refused("INVALID_ARGUMENT"):
            pubsub.publisher.create_topic(topic)


@pytest.mark.emulator_deviates("the state is unset")
def test_create(pubsub: PubSub) -> None:
    """A new topic is returned as it is, with its labels, and is active"""
    name = pubsub.topic(labels={"team": "data"})
    topic = pubsub.publisher.get_topic(T.GetTopicRequest(topic=name))
    assert (topic.name, dict(topic.labels), topic.state.name) == (name, {"team": "data"}, "ACTIVE")


def test_existing(pubsub: PubSub) -> None:
    """A topic that exists cannot be created"""
    name = pubsub.topic()
    with refused("ALREADY_EXISTS"):
        pubsub.publisher.create_topic(T.Topic(name=name))


@pytest.mark.parametrize("labels", [{"Upper": "x"}, {"": "x"}, {"1a": "x"}, {"a": "Upper"}, {"a": "x" * 64}])
@pytest.mark.emulator_deviates("labels are never checked")
def test_labels(pubsub: PubSub, labels: dict[str, str]) -> None:
    """Labels are lower-case, at most 63 characters, a letter first"""
    with refused("INVALID_ARGUMENT"):
        pubsub.topic(labels=labels)


@pytest.mark.parametrize("seconds", [599, 31 * 86400 + 1])
def test_retention_limits(pubsub: PubSub, seconds: int) -> None:
    """A topic keeps messages for 10 minutes to 31 days"""
    with refused("INVALID_ARGUMENT"):
        pubsub.topic(message_retention_duration=at(seconds))


def test_missing(pubsub: PubSub) -> None:
    """A topic that does not exist can be neither read, changed, deleted nor published to"""
    name = f"{PROJECT}/topics/missing"
    update = T.UpdateTopicRequest(topic=T.Topic(name=name), update_mask={"paths": ["labels"]})
    with refused("NOT_FOUND"):
        pubsub.publisher.get_topic(T.GetTopicRequest(topic=name))
    with refused("NOT_FOUND"):
        pubsub.publisher.delete_topic(T.DeleteTopicRequest(topic=name))
    with refused("NOT_FOUND"):
        pubsub.publish(name, "x")
    if pubsub.name != "google":  # it refuses labels first
        with refused("NOT_FOUND"):
            pubsub.publisher.update_topic(update)


@pytest.mark.emulator_deviates("labels is not a known Topic field")
def test_update_labels(pubsub: PubSub) -> None:
    """The labels of a topic can be changed"""
    name = pubsub.topic(labels={"a": "1"})
    update = T.UpdateTopicRequest(
        topic=T.Topic(name=name, labels={"b": "2"}), update_mask={"paths": ["labels"]}
    )
    assert dict(pubsub.publisher.update_topic(update).labels) == {"b": "2"}


def test_update_retention(pubsub: PubSub) -> None:
    """The retention of a topic can be changed"""
    name = pubsub.topic()
    update = T.UpdateTopicRequest(
        topic=T.Topic(name=name, message_retention_duration=at(1200)),
        update_mask={"paths": ["message_retention_duration"]},
    )
    assert pubsub.publisher.update_topic(update).message_retention_duration.seconds == 1200


@pytest.mark.parametrize("paths", [[], ["name"], ["nonsense"]])
def test_update_mask(pubsub: PubSub, paths: list[str]) -> None:
    """An update without a mask, of the name, or of an unknown field is refused"""
    name = pubsub.topic()
    with refused("INVALID_ARGUMENT"):
        pubsub.publisher.update_topic(
            T.UpdateTopicRequest(topic=T.Topic(name=name), update_mask={"paths": paths})
        )


def test_list_pages(pubsub: PubSub) -> None:
    """Topics are listed in pages of the size asked for"""
    names = {pubsub.topic() for _ in range(5)}
    found: set[str] = set()
    token = ""
    while True:
        page = pubsub.publisher.list_topics(
            T.ListTopicsRequest(project=PROJECT, page_size=2, page_token=token)
        )
        assert len(page.topics) <= 2
        found |= {topic.name for topic in page.topics}
        token = page.next_page_token
        if not token:
            break
    assert names <= found


@pytest.mark.emulator_deviates("a garbage token is accepted")
def test_list_bad_token(pubsub: PubSub) -> None:
    """A page token that is none is refused"""
    with refused("INVALID_ARGUMENT"):
        pubsub.publisher.list_topics(T.ListTopicsRequest(project=PROJECT, page_token="garbage"))


def test_list_of_a_topic(pubsub: PubSub) -> None:
    """The subscriptions of a topic are listed by name"""
    topic, subscription = pubsub.pair()
    listed = pubsub.publisher.list_topic_subscriptions(T.ListTopicSubscriptionsRequest(topic=topic))
    assert list(listed.subscriptions) == [subscription]


@pytest.mark.emulator_deviates("answers an empty list")
def test_list_of_a_missing_topic(pubsub: PubSub) -> None:
    """The subscriptions of a topic that does not exist are not listed"""
    with refused("NOT_FOUND"):
        pubsub.publisher.list_topic_subscriptions(
            T.ListTopicSubscriptionsRequest(topic=f"{PROJECT}/topics/missing")
        )


def test_delete_leaves_subscriptions(pubsub: PubSub) -> None:
    """A deleted topic leaves its subscriptions with their backlog, and a new one of its name is another"""
    topic, subscription = pubsub.pair()
    pubsub.publish(topic, "before")
    pubsub.publisher.delete_topic(T.DeleteTopicRequest(topic=topic))
    assert pubsub.get_subscription(subscription).topic == "_deleted-topic_"
    assert pubsub.texts(subscription, 1) == ["before"]
    pubsub.publisher.create_topic(T.Topic(name=topic))
    pubsub.publish(topic, "after")
    assert pubsub.get_subscription(subscription).topic == "_deleted-topic_"
    assert [m for m in pubsub.pull(subscription) if m.message.data == b"after"] == []


@pytest.mark.emulator_deviates("UNIMPLEMENTED")
def test_detach(pubsub: PubSub) -> None:
    """A detached subscription says so, has lost its backlog, and cannot be pulled from"""
    topic, subscription = pubsub.pair()
    pubsub.publish(topic, "x")
    with pubsub.stream(subscription) as stream:
        stream.receive(1)
        request = T.DetachSubscriptionRequest(subscription=subscription)
        pubsub.publisher.detach_subscription(request)
        with refused("FAILED_PRECONDITION"):
            stream.next()
    assert pubsub.get_subscription(subscription).detached
    with refused("FAILED_PRECONDITION"):
        pubsub.pull(subscription)
    listed = pubsub.publisher.list_topic_subscriptions(T.ListTopicSubscriptionsRequest(topic=topic))
    assert list(listed.subscriptions) == []
