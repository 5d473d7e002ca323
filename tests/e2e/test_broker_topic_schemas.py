"""Messages checked against schemas: those of a request, and those of a topic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core.exceptions import (
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
)
from google.cloud.pubsub_v1 import PublisherClient as BatchingClient
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.pubsub_v1.types import Encoding, Schema
from tests.e2e.schema_clients import (
    AVRO,
    BINARY,
    JSON,
    PROJECT,
    PROTO,
    PROTO_V1,
    SCHEMA,
    TOPIC,
    V1,
    V2,
    Google,
    avro,
    google_clients,
)

from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")


@pytest.fixture
def google() -> Iterator[Google]:
    with running_broker(clock=VirtualClock()) as address, google_clients(address) as clients:
        yield clients


# Messages


@pytest.mark.parametrize(
    ("kind", "definition", "encoding", "right", "wrong", "reason"),
    [
        (AVRO, V1, JSON, b'{"name": "Ohio"}', b'{"name": 1}', "INVALID_JSON_AVRO_MESSAGE"),
        (AVRO, V1, BINARY, b"\x08Ohio", b"\x08Ohi", "INVALID_BINARY_AVRO_MESSAGE"),
        (PROTO, PROTO_V1, JSON, b'{"name": "Ohio"}', b'{"name": 1}', "INVALID_JSON_PROTO_MESSAGE"),
        (PROTO, PROTO_V1, BINARY, b"\x0a\x04Ohio", b"\x0a\x04Ohi", "INVALID_BINARY_PROTO_MESSAGE"),
    ],
)
def test_message_is_checked(
    google: Google, kind: Any, definition: str, encoding: Any, right: bytes, wrong: bytes, reason: str
) -> None:
    created = google.create(definition, kind)
    for spec in ({"name": SCHEMA}, {"schema": {"type_": kind, "definition": definition}}):
        request = {"parent": PROJECT, "encoding": encoding, **spec}
        google.schemas.validate_message(request={**request, "message": right})
        with pytest.raises(InvalidArgument, match="Message failed schema validation") as refused:
            google.schemas.validate_message(request={**request, "message": wrong})
        assert refused.value.reason == reason
        assert refused.value.domain == "pubsub.googleapis.com"

    google.create_topic(encoding=encoding)
    google.publish(right)
    with pytest.raises(InvalidArgument) as refused:
        google.publish(right, wrong)
    assert refused.value.message == "Invalid data in message: Message failed schema validation."
    assert refused.value.reason == reason
    assert refused.value.metadata["message"] == "Message failed schema validation"
    assert (
        f"revision: revision_id={created.revision_id} failed with" in refused.value.metadata["revisionInfo"]
    )
    (message,) = google.pull()  # of the second request, nothing
    assert message.data == right
    assert dict(message.attributes) == {
        "googclient_schemaencoding": encoding.name,
        "googclient_schemaname": SCHEMA,
        "googclient_schemarevisionid": created.revision_id,
    }


def test_check_of_a_message_needs_a_schema_and_an_encoding(google: Google) -> None:
    google.create()
    with pytest.raises(InvalidArgument, match="No encoding"):
        google.schemas.validate_message(request={"parent": PROJECT, "name": SCHEMA, "message": b"{}"})
    with pytest.raises(InvalidArgument, match="Neither"):
        google.schemas.validate_message(request={"parent": PROJECT, "message": b"{}", "encoding": JSON})


@pytest.mark.skipif(
    "compiled_proto_schema" not in Schema.meta.fields, reason="the client does not know the field"
)
def test_compiled_schema_may_have_several_files(google: Google) -> None:
    size = FileDescriptorProto(name="size.proto", package="geo")
    size.message_type.add(name="Size").field.add(
        name="km", number=1, type="TYPE_INT32", label="LABEL_OPTIONAL"
    )
    state = FileDescriptorProto(name="state.proto", package="geo", dependency=["size.proto"])
    state.message_type.add(name="State").field.add(
        name="size", number=1, type="TYPE_MESSAGE", type_name=".geo.Size", label="LABEL_OPTIONAL"
    )
    compiled_bytes = FileDescriptorSet(file=[state, size]).SerializeToString()
    compiled = {"root_message": "geo.State", "compiled_bytes": compiled_bytes}
    assert google.create("", PROTO, compiled_proto_schema=compiled).compiled_proto_schema.root_message
    google.create_topic()
    google.publish(b'{"size": {"km": 5}}')
    with pytest.raises(InvalidArgument, match="Message failed schema validation"):
        google.publish(b'{"km": 5}')
    for wrong in ({"root_message": "geo.Other"}, {"compiled_bytes": b"\xff"}):
        with pytest.raises(InvalidArgument, match="Could not parse schema definition"):
            google.create("", PROTO, schema_id="other", compiled_proto_schema=compiled | wrong)


# Topics


@pytest.mark.parametrize(
    ("settings", "error", "why"),
    [
        ({"schema": f"{PROJECT}/schemas/other"}, NotFound, "Resource not found"),
        ({"schema": "other"}, InvalidArgument, r"Invalid \[schemas\] name"),
        ({"schema": ""}, InvalidArgument, r"Invalid \[schemas\] name"),
        ({"encoding": Encoding.ENCODING_UNSPECIFIED}, InvalidArgument, "Invalid schema encoding"),
        ({"first_revision_id": "00000000"}, NotFound, "First revision could not be found"),
        ({"last_revision_id": "00000000"}, NotFound, "Last revision could not be found"),
    ],
)
def test_topic_with_settings_that_are_none(
    google: Google, settings: dict[str, Any], error: type[GoogleAPICallError], why: str
) -> None:
    google.create()
    with pytest.raises(error, match=why):
        google.create_topic(**settings)
    with pytest.raises(NotFound):
        google.publisher.get_topic(topic=TOPIC)


def test_message_is_checked_against_the_newest_revision_first(google: Google) -> None:
    first, second = google.create(V1), google.commit(V2)
    google.create_topic()
    # The second message has no bird: in JSON, Avro wants every field.
    google.publish(b'{"name": "a", "bird": "b"}', b'{"name": "a"}')
    assert google.revision_ids() == [second.revision_id, first.revision_id]


def test_range_of_revisions_bounds_what_is_accepted(google: Google) -> None:
    ids = [google.create(V1).revision_id, google.commit(V2).revision_id]
    with pytest.raises(InvalidArgument, match="First revision creation time is after last"):
        google.create_topic(first_revision_id=ids[1], last_revision_id=ids[0])
    google.create_topic(first_revision_id=ids[1])
    with pytest.raises(InvalidArgument, match="Message failed schema validation"):
        google.publish(b'{"name": "a"}')
    google.publisher.update_topic(
        request={
            "topic": {"name": TOPIC, "schema_settings": {"schema": SCHEMA, "encoding": JSON}},
            "update_mask": {"paths": ["schema_settings"]},
        }
    )
    google.publish(b'{"name": "a"}')
    google.publisher.update_topic(
        request={
            "topic": {"name": TOPIC, "schema_settings": {"last_revision_id": ids[0]}},
            "update_mask": {"paths": ["schema_settings.last_revision_id"]},
        }
    )
    google.publish(
        b'{"name": "a", "bird": "b"}'
    )  # fits: fields that a revision does not have are let through
    assert google.revision_ids() == [ids[0], ids[0]]


def test_neighbour_takes_the_place_of_a_deleted_bound(google: Google) -> None:
    ids = [google.create(V1).revision_id, *(google.commit(V1).revision_id for _ in range(3))]
    google.create_topic(first_revision_id=ids[1], last_revision_id=ids[2])
    for deleted, newest in (("", ids[2]), (ids[2], ids[1])):
        if deleted:
            google.schemas.delete_schema_revision(name=f"{SCHEMA}@{deleted}")
        google.publish(b'{"name": "a"}')
        assert google.revision_ids() == [newest]
    google.schemas.delete_schema_revision(name=f"{SCHEMA}@{ids[1]}")
    with pytest.raises(InvalidArgument) as refused:
        google.publish(b'{"name": "a"}')
    assert "no revision of the range is left" in refused.value.metadata["revisionInfo"]


def test_settings_are_taken_away_by_an_update(google: Google) -> None:
    google.create()
    google.create_topic()
    topic = google.publisher.update_topic(
        request={"topic": {"name": TOPIC}, "update_mask": {"paths": ["schema_settings"]}}
    )
    assert "schema_settings" not in topic
    google.publish(b"anything")
    assert [dict(message.attributes) for message in google.pull()] == [{}]


def test_update_to_a_schema_that_is_not_there_changes_nothing(google: Google) -> None:
    google.create()
    google.create_topic()
    before = google.publisher.get_topic(topic=TOPIC)
    settings = {"schema": f"{PROJECT}/schemas/other", "encoding": JSON}
    with pytest.raises(NotFound):
        google.publisher.update_topic(
            request={
                "topic": {"name": TOPIC, "schema_settings": settings},
                "update_mask": {"paths": ["schema_settings"]},
            }
        )
    assert google.publisher.get_topic(topic=TOPIC) == before


def test_topic_of_a_deleted_schema_takes_no_messages(google: Google) -> None:
    google.create()
    google.create_topic()
    google.schemas.delete_schema(name=SCHEMA)
    google.create()  # another one, of the same name
    assert google.publisher.get_topic(topic=TOPIC).schema_settings.schema == "_deleted-schema_"
    with pytest.raises(NotFound, match="Schema associated with topic deleted"):
        google.publish(b'{"name": "a"}')
    google.publisher.update_topic(
        request={"topic": {"name": TOPIC, "labels": {"a": "b"}}, "update_mask": {"paths": ["labels"]}}
    )


def test_subscription_may_filter_by_the_attributes_of_the_schema(google: Google) -> None:
    google.create()
    google.create_topic()
    google.subscriber.create_subscription(
        request={
            "name": f"{PROJECT}/subscriptions/json",
            "topic": TOPIC,
            "filter": 'attributes.googclient_schemaencoding = "BINARY"',
        }
    )
    google.publish(b'{"name": "a"}')
    answer = google.subscriber.pull(
        request={
            "subscription": f"{PROJECT}/subscriptions/json",
            "max_messages": 1,
            "return_immediately": True,
        }
    )
    assert not answer.received_messages
    assert len(google.pull()) == 1


def test_large_messages_are_checked_too(google: Google) -> None:
    google.create(avro({"name": "name", "type": {"type": "array", "items": "int"}}))
    google.create_topic()
    right = json.dumps({"name": list(range(100_000))}).encode()
    google.publish(right)
    with pytest.raises(InvalidArgument, match="Message failed schema validation"):
        google.publish(right.replace(b"99999", b'"x"'))
    assert len(google.pull()) == 1


def test_broker_serves_while_a_hostile_definition_is_compiled(google: Google) -> None:
    google.create(PROTO_V1, PROTO)
    google.create_topic()
    numbers = ",".join(str(number) for number in range(1, 40_000))
    slow = f'syntax = "proto3"; message A {{ reserved {numbers}; }}'  # takes protoc a second or two
    with ThreadPoolExecutor() as pool:
        compiling = pool.submit(google.create, slow, PROTO, "slow")
        google.publish(b'{"name": "a"}')
        assert len(google.pull()) == 1
        assert not compiling.done()
        compiling.result()


def test_batching_publisher_is_told_why(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    google.create()
    google.create_topic()
    monkeypatch.setitem(os.environ, "PUBSUB_EMULATOR_HOST", google.address)
    publisher = BatchingClient()
    try:
        with pytest.raises(InvalidArgument, match="Message failed schema validation"):
            publisher.publish(TOPIC, b"x").result()
        publisher.publish(TOPIC, b'{"name": "a"}').result()
    finally:
        publisher.stop()
        publisher.transport.close()
