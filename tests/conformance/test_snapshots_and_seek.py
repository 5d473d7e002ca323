"""Snapshots and seek."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import PROJECT, PubSub, at, refused


def _snapshot(pubsub: PubSub, subscription: str, **fields: object) -> str:
    name = f"{PROJECT}/snapshots/n-{uuid4().hex}"
    request = T.CreateSnapshotRequest(name=name, subscription=subscription, **fields)
    pubsub.subscriber.create_snapshot(request)
    return name


def _seek(pubsub: PubSub, subscription: str, **target: object) -> None:
    pubsub.subscriber.seek(T.SeekRequest(subscription=subscription, **target))


def _texts(pubsub: PubSub, name: str) -> list[str]:
    return sorted(m.message.data.decode() for m in pubsub.pull(name))


def test_seek_to_snapshot(pubsub: PubSub) -> None:
    """A seek to a snapshot brings back what was not acknowledged then, and what was published since"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "acked")
    pubsub.acknowledge(name, *pubsub.receive(name, 1))
    pubsub.publish(topic, "open")
    snapshot = _snapshot(pubsub, name)
    pubsub.publish(topic, "later")
    pubsub.acknowledge(name, *pubsub.receive(name, 2))
    _seek(pubsub, name, snapshot=snapshot)
    assert sorted(pubsub.texts(name, 2)) == ["later", "open"]
    assert pubsub.pull(name) == []


def test_seek_back_in_time(pubsub: PubSub) -> None:
    """A seek to a time brings back acknowledged messages that are retained"""
    topic, name = pubsub.pair(retain_acked_messages=True)
    before = datetime.now(UTC) if pubsub.name == "google" else datetime(2026, 1, 1, tzinfo=UTC)
    pubsub.publish(topic, *"abc")
    pubsub.acknowledge(name, *pubsub.receive(name, 3))
    _seek(pubsub, name, time=before)
    assert sorted(pubsub.texts(name, 3)) == ["a", "b", "c"]


def test_seek_forward_in_time(pubsub: PubSub) -> None:
    """A seek to the future acknowledges the backlog"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, *"abc")
    _seek(pubsub, name, time=datetime(2040, 1, 1, tzinfo=UTC))
    assert pubsub.pull(name) == []


def test_seek_without_retention(pubsub: PubSub) -> None:
    """Acknowledged messages that are not retained do not come back"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    pubsub.acknowledge(name, *pubsub.receive(name, 1))
    _seek(pubsub, name, time=datetime(2026, 1, 1, tzinfo=UTC))
    assert pubsub.pull(name) == []


@pytest.mark.emulator_deviates("a new subscription receives the old messages at once")
def test_topic_retention(pubsub: PubSub) -> None:
    """A topic that retains lets a new subscription seek back to what it never received"""
    topic = pubsub.topic(message_retention_duration=at(3600))
    pubsub.publish(topic, "old")
    name = pubsub.subscribe(topic)
    assert pubsub.pull(name) == []
    _seek(pubsub, name, time=datetime(2025, 1, 1, tzinfo=UTC))
    assert pubsub.texts(name, 1) == ["old"]


@pytest.mark.emulator_deviates("an ordered subscription cannot seek: UNIMPLEMENTED")
def test_order_after_seek(pubsub: PubSub) -> None:
    """What a seek brings back is in order"""
    topic, name = pubsub.pair(enable_message_ordering=True, retain_acked_messages=True)
    for text in "abcde":
        pubsub.publish(topic, text, ordering_key="k")
        pubsub.acknowledge(name, *pubsub.receive(name, 1))
    _seek(pubsub, name, time=datetime(2026, 1, 1, tzinfo=UTC))
    texts = []
    for _ in range(5):
        (received,) = pubsub.receive(name, 1)
        texts.append(received.message.data.decode())
        pubsub.acknowledge(name, received)
    assert texts == list("abcde")


def test_snapshot_is_shown(pubsub: PubSub) -> None:
    """A snapshot can be read and listed, with its topic and its time"""
    topic, name = pubsub.pair()
    snapshot = _snapshot(pubsub, name)
    found = pubsub.subscriber.get_snapshot(T.GetSnapshotRequest(snapshot=snapshot))
    assert (found.name, found.topic) == (snapshot, topic)
    assert found.expire_time.year >= 2026
    listed = pubsub.subscriber.list_snapshots(T.ListSnapshotsRequest(project=PROJECT, page_size=1000))
    assert snapshot in {each.name for each in listed.snapshots}
    of_topic = pubsub.publisher.list_topic_snapshots(T.ListTopicSnapshotsRequest(topic=topic))
    assert list(of_topic.snapshots) == [snapshot]


@pytest.mark.emulator_deviates("labels are dropped; UpdateSnapshot is UNIMPLEMENTED")
def test_snapshot_labels(pubsub: PubSub) -> None:
    """A snapshot has labels, which can be changed"""
    _, name = pubsub.pair()
    snapshot = _snapshot(pubsub, name, labels={"a": "1"})
    found = pubsub.subscriber.get_snapshot(T.GetSnapshotRequest(snapshot=snapshot))
    assert dict(found.labels) == {"a": "1"}
    update = T.UpdateSnapshotRequest(
        snapshot=T.Snapshot(name=snapshot, labels={"b": "2"}), update_mask={"paths": ["labels"]}
    )
    assert dict(pubsub.subscriber.update_snapshot(update).labels) == {"b": "2"}


def test_snapshot_errors(pubsub: PubSub) -> None:
    """A snapshot that exists, or whose subscription does not, cannot be created"""
    _, name = pubsub.pair()
    snapshot = _snapshot(pubsub, name)
    with refused("ALREADY_EXISTS"):
        pubsub.subscriber.create_snapshot(T.CreateSnapshotRequest(name=snapshot, subscription=name))
    with refused("NOT_FOUND"):
        _snapshot(pubsub, f"{PROJECT}/subscriptions/missing")


def test_deleted_snapshot(pubsub: PubSub) -> None:
    """A deleted snapshot is not found"""
    _, name = pubsub.pair()
    snapshot = _snapshot(pubsub, name)
    pubsub.subscriber.delete_snapshot(T.DeleteSnapshotRequest(snapshot=snapshot))
    with refused("NOT_FOUND"):
        pubsub.subscriber.get_snapshot(T.GetSnapshotRequest(snapshot=snapshot))
    with refused("NOT_FOUND"):
        _seek(pubsub, name, snapshot=snapshot)


def test_seek_errors(pubsub: PubSub) -> None:
    """A seek needs a target, and a snapshot of the subscription's own topic"""
    _, name = pubsub.pair()
    _, other = pubsub.pair()
    snapshot = _snapshot(pubsub, other)
    with refused("INVALID_ARGUMENT"):
        _seek(pubsub, name)
    with refused("FAILED_PRECONDITION"):
        _seek(pubsub, name, snapshot=snapshot)


@pytest.mark.needs_virtual_clock("seven days")
def test_snapshot_expires(pubsub: PubSub) -> None:
    """A snapshot lives for seven days, less the age of the oldest message in it"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "x")
    pubsub.advance(3 * 86400)
    snapshot = _snapshot(pubsub, name)
    pubsub.advance(4 * 86400 - 60)
    pubsub.subscriber.get_snapshot(T.GetSnapshotRequest(snapshot=snapshot))
    with refused("FAILED_PRECONDITION"):
        _snapshot(pubsub, name)
    pubsub.advance(120)
    with refused("NOT_FOUND"):
        pubsub.subscriber.get_snapshot(T.GetSnapshotRequest(snapshot=snapshot))
