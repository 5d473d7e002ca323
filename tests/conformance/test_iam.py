"""IAM policies of topics, subscriptions, snapshots and schemas."""

from __future__ import annotations

import pytest
from google.iam.v1 import iam_policy_pb2 as iam
from google.iam.v1.policy_pb2 import Policy
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import DAY_S, PROJECT, WAIT_S, PubSub, at, refused

VIEWER = {"role": "roles/pubsub.viewer", "members": ["user:a@example.com"]}
EDITOR = {"role": "roles/pubsub.editor", "members": ["user:b@example.com"]}


@pytest.fixture(autouse=True)
def only_where_it_is(pubsub: PubSub) -> None:
    if pubsub.name == "google":
        pytest.xfail("UNIMPLEMENTED without an IAM emulator")


def read(pubsub: PubSub, resource: str) -> Policy:
    return pubsub.publisher.get_iam_policy(iam.GetIamPolicyRequest(resource=resource), timeout=WAIT_S)


def write(pubsub: PubSub, resource: str, *paths: str, **fields: object) -> Policy:
    request = iam.SetIamPolicyRequest(resource=resource, policy=Policy(**fields))
    if paths:
        request.update_mask.CopyFrom(FieldMask(paths=paths))
    return pubsub.publisher.set_iam_policy(request, timeout=WAIT_S)


def test_of_each_kind(pubsub: PubSub) -> None:
    """A policy is kept for each kind of resource; before that there is an empty one with an etag"""
    topic, subscription = pubsub.pair()
    snapshot = pubsub.subscriber.create_snapshot(
        T.CreateSnapshotRequest(name=f"{PROJECT}/snapshots/of-iam", subscription=subscription)
    ).name
    definition = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}'
    schema = T.Schema(type_=T.Schema.Type.AVRO, definition=definition)
    named = pubsub.schemas.create_schema(
        T.CreateSchemaRequest(parent=PROJECT, schema_id="of-iam", schema=schema)
    )
    for resource in (topic, subscription, snapshot, named.name):
        empty = read(pubsub, resource)
        assert list(empty.bindings) == []
        assert empty.etag
        written = write(pubsub, resource, bindings=[VIEWER])
        assert written.bindings[0].role == "roles/pubsub.viewer"
        assert written.etag != empty.etag
        assert read(pubsub, resource) == written


def test_etag(pubsub: PubSub) -> None:
    """A policy is replaced if it is the one that was read, or whatever it is without an etag"""
    topic = pubsub.topic()
    first = write(pubsub, topic, bindings=[VIEWER], etag=read(pubsub, topic).etag)
    second = write(pubsub, topic, bindings=[EDITOR], etag=first.etag)
    with refused("ABORTED", "concurrent policy changes"):
        write(pubsub, topic, bindings=[VIEWER], etag=first.etag)
    assert read(pubsub, topic) == second
    assert write(pubsub, topic, bindings=[VIEWER]).etag not in (first.etag, second.etag)


def test_mask(pubsub: PubSub) -> None:
    """With a mask, the rest of a policy stays"""
    topic = pubsub.topic()
    write(pubsub, topic, bindings=[VIEWER], version=1)
    changed = write(pubsub, topic, "bindings", bindings=[EDITOR])
    assert (changed.version, changed.bindings[0].role) == (1, "roles/pubsub.editor")
    with refused("INVALID_ARGUMENT"):
        write(pubsub, topic, "nonsense", bindings=[EDITOR])


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"bindings": [{"members": ["user:a@example.com"]}]},
        {"bindings": [VIEWER | {"condition": {"expression": "true"}}]},
        {"bindings": [VIEWER | {"members": [f"user:{n}@example.com" for n in range(1501)]}]},
    ],
)
def test_refused(pubsub: PubSub, fields: dict[str, object]) -> None:
    """A policy that is none is refused, and the former one stays"""
    topic = pubsub.topic()
    former = write(pubsub, topic, bindings=[VIEWER])
    with refused("INVALID_ARGUMENT"):
        write(pubsub, topic, **fields)
    assert read(pubsub, topic) == former


def test_missing(pubsub: PubSub) -> None:
    """What is not there has no policy, and gives nobody permission"""
    for missing in (f"{PROJECT}/{c}/missing" for c in ("topics", "subscriptions", "snapshots", "schemas")):
        with refused("NOT_FOUND"):
            read(pubsub, missing)
        with refused("NOT_FOUND"):
            write(pubsub, missing, bindings=[VIEWER])
        request = iam.TestIamPermissionsRequest(resource=missing, permissions=["pubsub.topics.get"])
        assert list(pubsub.publisher.test_iam_permissions(request).permissions) == []


@pytest.mark.parametrize("name", ["", "projects/p", "projects/p/widgets/abc", "projects/topics/topics"])
def test_name(pubsub: PubSub, name: str) -> None:
    """A name that is none of a resource is refused"""
    with refused("INVALID_ARGUMENT"):
        read(pubsub, name)
    with refused("INVALID_ARGUMENT"):
        pubsub.publisher.test_iam_permissions(iam.TestIamPermissionsRequest(resource=name))


def test_permissions(pubsub: PubSub) -> None:
    """Everybody may do everything; a permission with a wildcard is none"""
    request = iam.TestIamPermissionsRequest(
        resource=pubsub.topic(), permissions=["pubsub.topics.get", "pubsub.topics.publish"]
    )
    assert pubsub.publisher.test_iam_permissions(request).permissions == request.permissions
    request.permissions.append("pubsub.*")
    with refused("INVALID_ARGUMENT"):
        pubsub.publisher.test_iam_permissions(request)


def test_namesake(pubsub: PubSub) -> None:
    """A resource that is created anew has nothing of the former one's policy"""
    topic, subscription = pubsub.pair()
    write(pubsub, topic, bindings=[VIEWER])
    write(pubsub, subscription, bindings=[VIEWER])
    pubsub.publisher.delete_topic(T.DeleteTopicRequest(topic=topic))
    pubsub.subscriber.delete_subscription(T.DeleteSubscriptionRequest(subscription=subscription))
    pubsub.publisher.create_topic(T.Topic(name=topic))
    pubsub.subscriber.create_subscription(T.Subscription(name=subscription, topic=topic))
    assert list(read(pubsub, topic).bindings) == []
    assert list(read(pubsub, subscription).bindings) == []


@pytest.mark.needs_virtual_clock("a day")
def test_policy_keeps_nothing_alive(pubsub: PubSub) -> None:
    """A subscription expires, policy or not"""
    subscription = pubsub.subscribe(
        pubsub.topic(),
        expiration_policy={"ttl": at(DAY_S)},
        message_retention_duration=at(DAY_S),
    )
    write(pubsub, subscription, bindings=[VIEWER])
    pubsub.advance(DAY_S / 2)
    pubsub.advance(DAY_S / 2 + 1)
    with refused("NOT_FOUND"):
        read(pubsub, subscription)
