"""Schemas as Google's own Python client sees them. Revisions are told apart by their ids, never by time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsub_v1 import PublisherClient as BatchingClient
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Encoding, Schema, SchemaView
from google.pubsub_v1.types import schema as schema_types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longcall.broker import BrokerConfig
from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")

PROJECT = "projects/p"
SCHEMA = f"{PROJECT}/schemas/state"
TOPIC = f"{PROJECT}/topics/states"
INBOX = f"{PROJECT}/subscriptions/inbox"
AVRO, PROTO = Schema.Type.AVRO, Schema.Type.PROTOCOL_BUFFER
JSON, BINARY = Encoding.JSON, Encoding.BINARY
NAME = {"name": "name", "type": "string"}
BIRD = {"name": "bird", "type": "string", "default": ""}
PROTO_V1 = 'syntax = "proto3"; message State { string name = 1; }'
PROTO_V2 = 'syntax = "proto3"; message State { string name = 1; int64 population = 2; }'


def avro(*fields: Any) -> str:
    return json.dumps({"type": "record", "name": "State", "fields": list(fields)})


V1, V2 = avro(NAME), avro(NAME, BIRD)


@dataclass
class Google:
    """The three clients of one broker."""

    schemas: SchemaServiceClient
    publisher: PublisherClient
    subscriber: SubscriberClient
    address: str

    def create(self, definition: str = V1, kind: Any = AVRO, schema_id: str = "state", **more: Any) -> Schema:
        schema = {"type_": kind, "definition": definition, **more}
        return self.schemas.create_schema(
            request={"parent": PROJECT, "schema_id": schema_id, "schema": schema}
        )

    def commit(self, definition: str, kind: Any = AVRO) -> Schema:
        return self.schemas.commit_schema(name=SCHEMA, schema={"type_": kind, "definition": definition})

    def create_topic(self, *, encoding: Any = JSON, **settings: Any) -> None:
        settings = {"schema": SCHEMA, "encoding": encoding, **settings}
        self.publisher.create_topic(request={"name": TOPIC, "schema_settings": settings})
        self.subscriber.create_subscription(request={"name": INBOX, "topic": TOPIC})

    def publish(self, *texts: bytes) -> None:
        self.publisher.publish(topic=TOPIC, messages=[{"data": text} for text in texts])

    def pull(self) -> list[Any]:
        answer = self.subscriber.pull(
            request={"subscription": INBOX, "max_messages": 100, "return_immediately": True}
        )
        return [received.message for received in answer.received_messages]

    def revision_ids(self) -> list[str]:
        """Return the revision of each message that is ready."""
        return [message.attributes["googclient_schemarevisionid"] for message in self.pull()]


@contextmanager
def google_clients(address: str) -> Iterator[Google]:
    with grpc.insecure_channel(address) as channel:
        anyone = AnonymousCredentials()
        yield Google(
            SchemaServiceClient(transport=SchemaServiceGrpcTransport(channel=channel, credentials=anyone)),
            PublisherClient(transport=PublisherGrpcTransport(channel=channel, credentials=anyone)),
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel, credentials=anyone)),
            address,
        )


@pytest.fixture
def google() -> Iterator[Google]:
    with running_broker(clock=VirtualClock()) as address, google_clients(address) as clients:
        yield clients


# Schemas


def test_schema_is_created_and_shown(google: Google) -> None:
    created = google.create()
    assert (created.name, created.type_, created.definition) == (SCHEMA, AVRO, V1)
    assert len(created.revision_id) == 8
    assert int(created.revision_id, 16) >= 0
    assert created.revision_create_time
    assert google.schemas.get_schema(name=SCHEMA) == created
    assert google.schemas.get_schema(name=f"{SCHEMA}@{created.revision_id}") == created
    basic = google.schemas.get_schema(request={"name": SCHEMA, "view": SchemaView.BASIC})
    assert (basic.name, basic.type_, basic.definition) == (SCHEMA, AVRO, "")
    google.schemas.delete_schema(name=SCHEMA)
    for name in (SCHEMA, f"{SCHEMA}@{created.revision_id}"):
        with pytest.raises(NotFound, match="Resource not found"):
            google.schemas.get_schema(name=name)


@pytest.mark.parametrize("schema_id", ["", "ab", "goog-x", "1abc", "a@b"])
def test_schema_id_that_is_none(google: Google, schema_id: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Invalid \[schemas\] name"):
        google.create(schema_id=schema_id)


@pytest.mark.parametrize(
    ("kind", "definition", "why"),
    [
        (AVRO, "{", "Could not parse schema definition"),
        (AVRO, "", "Could not parse schema definition"),
        (PROTO, "nonsense", "Could not parse schema definition"),
        (PROTO, PROTO_V1 + " message Other {}", "exactly one top-level message"),
        (PROTO, 'import "/etc/passwd"; message A {}', "Imports are not supported"),
        (Schema.Type.TYPE_UNSPECIFIED, V1, "Invalid schema type"),
        (AVRO, json.dumps({"type": "string", "doc": "x" * 300_000}), "maximum value is 300000"),
    ],
)
def test_schema_that_is_none(google: Google, kind: Any, definition: str, why: str) -> None:
    schema = {"type_": kind, "definition": definition}
    with pytest.raises(InvalidArgument, match=why):
        google.create(definition, kind)
    with pytest.raises(InvalidArgument, match=why):
        google.schemas.validate_schema(parent=PROJECT, schema=schema)
    with pytest.raises(InvalidArgument, match=why):
        google.schemas.validate_message(
            request={"parent": PROJECT, "schema": schema, "message": b"", "encoding": JSON}
        )
    with pytest.raises(NotFound):
        google.schemas.get_schema(name=SCHEMA)


@pytest.mark.parametrize(("kind", "definition"), [(AVRO, V1), (PROTO, PROTO_V1)])
def test_validated_schema_is_not_kept(google: Google, kind: Any, definition: str) -> None:
    google.schemas.validate_schema(parent=PROJECT, schema={"type_": kind, "definition": definition})
    assert not list(google.schemas.list_schemas(parent=PROJECT))


def test_schema_that_is_there_cannot_be_created(google: Google) -> None:
    google.create()
    with pytest.raises(AlreadyExists, match="Resource already exists"):
        google.create(V2)


def test_schemas_are_listed_in_pages_without_their_definitions(google: Google) -> None:
    ids = [f"schema-{n}" for n in range(5)]
    for schema_id in reversed(ids):
        google.create(schema_id=schema_id)
    pages = list(google.schemas.list_schemas(request={"parent": PROJECT, "page_size": 2}).pages)
    assert [len(page.schemas) for page in pages] == [2, 2, 1]
    shown = [schema for page in pages for schema in page.schemas]
    assert [schema.name for schema in shown] == [f"{PROJECT}/schemas/{schema_id}" for schema_id in ids]
    assert {schema.definition for schema in shown} == {""}
    full = google.schemas.list_schemas(request={"parent": PROJECT, "view": SchemaView.FULL})
    assert {schema.definition for schema in full} == {V1}
    assert not list(google.schemas.list_schemas(parent="projects/other"))
    with pytest.raises(InvalidArgument, match="page_token"):
        google.schemas.list_schemas(request={"parent": PROJECT, "page_token": "x"})


# Revisions


def test_revisions_are_committed_listed_and_rolled_back_to(google: Google) -> None:
    first, second = google.create(V1), google.commit(V2)
    assert google.schemas.get_schema(name=SCHEMA) == second
    third = google.schemas.rollback_schema(name=SCHEMA, revision_id=first.revision_id)
    assert third.definition == V1
    listed = google.schemas.list_schema_revisions(request={"name": SCHEMA, "page_size": 2})
    ids = [first.revision_id, second.revision_id, third.revision_id]
    assert [schema.revision_id for schema in listed] == ids
    assert len(set(ids)) == 3
    assert [schema.revision_id for schema in google.schemas.list_schemas(parent=PROJECT)] == ids[2:]


def test_revision_that_does_not_fit_is_refused(google: Google) -> None:
    first = google.create(V1)
    with pytest.raises(InvalidArgument) as refused:
        google.commit(avro(NAME, {"name": "bird", "type": "string"}))
    assert refused.value.message == (
        f'Compatibility checking failed to commit a schema revision for (schema="{SCHEMA}"). '
        f'(reason="Revision is incompatible with previous revision: {first.revision_id}. '
        'Failed with error: State.bird is missing in one of them and has no default"). '
        "Refer to https://cloud.google.com/pubsub/docs/schemas for more information."
    )
    with pytest.raises(InvalidArgument, match="Invalid schema type"):
        google.commit(PROTO_V1, PROTO)
    with pytest.raises(InvalidArgument, match="Could not parse schema definition"):
        google.commit("{")
    assert google.schemas.get_schema(name=SCHEMA) == first


def test_revision_must_fit_all_earlier_ones(google: Google) -> None:
    google.create('syntax = "proto3"; message S { string a = 1; string device = 2; }', PROTO)
    google.commit('syntax = "proto3"; message S { string a = 1; }', PROTO)
    with pytest.raises(
        InvalidArgument, match=r"S\.id of type int64 is not compatible with S\.device of type string"
    ):
        google.commit('syntax = "proto3"; message S { string a = 1; int64 id = 2; }', PROTO)


def test_there_are_twenty_revisions_at_most(google: Google) -> None:
    first = google.create()
    for _ in range(19):
        google.commit(V1)
    for add in (
        lambda: google.commit(V1),
        lambda: google.schemas.rollback_schema(name=SCHEMA, revision_id=first.revision_id),
    ):
        with pytest.raises(ResourceExhausted, match="maximum number of schema revisions"):
            add()
    google.schemas.delete_schema_revision(name=f"{SCHEMA}@{first.revision_id}")
    google.commit(V1)


def test_last_revision_cannot_be_deleted(google: Google) -> None:
    first, second = google.create(V1), google.commit(V2)
    deleted = google.schemas.delete_schema_revision(name=f"{SCHEMA}@{first.revision_id}")
    assert deleted.revision_id == first.revision_id
    with pytest.raises(NotFound):
        google.schemas.delete_schema_revision(name=f"{SCHEMA}@{first.revision_id}")
    with pytest.raises(InvalidArgument, match="Cannot delete last revision"):
        google.schemas.delete_schema_revision(name=f"{SCHEMA}@{second.revision_id}")
    with pytest.raises(InvalidArgument, match=r"Invalid \[schemas\] name"):
        google.schemas.delete_schema_revision(name=SCHEMA)


@pytest.mark.parametrize("name", [f"{PROJECT}/schemas/other", f"{SCHEMA}@00000000"])
def test_schema_or_revision_that_is_not_there(google: Google, name: str) -> None:
    google.create()
    schema, _, revision_id = name.partition("@")
    with pytest.raises(NotFound):
        google.schemas.get_schema(name=name)
    with pytest.raises(NotFound):
        google.schemas.rollback_schema(name=schema, revision_id=revision_id or "00000000")
    with pytest.raises(InvalidArgument, match="Missing revision ID"):
        google.schemas.rollback_schema(name=SCHEMA, revision_id="")
    with pytest.raises(NotFound):
        google.schemas.delete_schema_revision(name=f"{schema}@00000000")
    with pytest.raises(NotFound):
        google.schemas.validate_message(
            request={"parent": PROJECT, "name": name, "message": b"{}", "encoding": JSON}
        )


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


def test_restart_keeps_schemas_revisions_and_the_settings_of_topics(tmp_path: Path) -> None:
    config = BrokerConfig(data_dir=tmp_path)
    with running_broker(config) as address, google_clients(address) as google:
        google.create(PROTO_V1, PROTO)
        google.commit(PROTO_V2, PROTO)
        third = google.schemas.rollback_schema(
            name=SCHEMA, revision_id=google.schemas.get_schema(name=SCHEMA).revision_id
        )
        google.create_topic(encoding=BINARY, last_revision_id=third.revision_id)
        google.schemas.delete_schema_revision(name=f"{SCHEMA}@{third.revision_id}")
        google.create(schema_id="gone")
        google.schemas.delete_schema(name=f"{PROJECT}/schemas/gone")
        before = list(google.schemas.list_schema_revisions(request={"name": SCHEMA, "view": SchemaView.FULL}))
    with running_broker(config) as address, google_clients(address) as google:
        after = list(google.schemas.list_schema_revisions(request={"name": SCHEMA, "view": SchemaView.FULL}))
        assert after == before
        assert len(after) == 2
        assert [schema.name for schema in google.schemas.list_schemas(parent=PROJECT)] == [SCHEMA]
        fourth = google.commit(PROTO_V1, PROTO)  # after the deleted bound of the topic, so not for it
        google.publish(b"\x0a\x04Ohio")
        assert google.revision_ids() == [before[1].revision_id]
        with pytest.raises(InvalidArgument, match="Message failed schema validation"):
            google.publish(b"\x18\x01")
        assert fourth.revision_id not in {schema.revision_id for schema in before}
        google.schemas.delete_schema(name=SCHEMA)
    with running_broker(config) as address, google_clients(address) as google:
        assert not list(google.schemas.list_schemas(parent=PROJECT))
        assert google.publisher.get_topic(topic=TOPIC).schema_settings.schema == "_deleted-schema_"


# Whatever comes


_METHODS = {
    "CreateSchema": "CreateSchemaRequest",
    "GetSchema": "GetSchemaRequest",
    "ListSchemas": "ListSchemasRequest",
    "ListSchemaRevisions": "ListSchemaRevisionsRequest",
    "CommitSchema": "CommitSchemaRequest",
    "RollbackSchema": "RollbackSchemaRequest",
    "DeleteSchemaRevision": "DeleteSchemaRevisionRequest",
    "DeleteSchema": "DeleteSchemaRequest",
    "ValidateSchema": "ValidateSchemaRequest",
    "ValidateMessage": "ValidateMessageRequest",
}
_NAMES = st.sampled_from(["", PROJECT, SCHEMA, f"{SCHEMA}@", f"{SCHEMA}@0", "@", "projects//schemas/", "\0"])
_SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "name": _NAMES,
        "type_": st.sampled_from([0, 2, 2, 2, 7]),
        "definition": st.sampled_from([V1, V2, "", "{", '"int"', "[]"]) | st.text(max_size=20),
    },
)
_FIELDS = {
    "parent": _NAMES,
    "name": _NAMES,
    "schema": _SCHEMAS,
    "schema_id": st.sampled_from(["", "state", "a/b", "%%%"]) | st.text(max_size=5),
    "view": st.integers(0, 9),
    "page_size": st.integers(-2, 2),
    "page_token": st.text(max_size=10) | st.just("YWZ0ZXI6"),
    "revision_id": st.sampled_from(["", "0", "@"]) | st.text(max_size=9),
    "message": st.binary(max_size=20) | st.just(b'{"name": ""}'),
    "encoding": st.integers(0, 9),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(sorted(_METHODS)), data=st.data())
def test_any_request_is_answered(google: Google, method: str, data: Any) -> None:
    kind = getattr(schema_types, _METHODS[method])
    known = {name: values for name, values in _FIELDS.items() if name in kind.meta.fields}
    request = data.draw(st.fixed_dictionaries({}, optional=known))
    if method == "ValidateMessage" and "schema" in request:
        request.pop("name", None)
    call = grpc.insecure_channel(google.address)
    with call as channel:
        send = channel.unary_unary(f"/google.pubsub.v1.SchemaService/{method}")
        try:
            send(kind.serialize(kind(request)))
        except grpc.RpcError as error:
            assert error.code().name in (  # noqa: PT017 - it may also succeed
                "INVALID_ARGUMENT",
                "NOT_FOUND",
                "ALREADY_EXISTS",
                "RESOURCE_EXHAUSTED",
            ), error


# Processes


def test_libraries_of_schemas_are_loaded_with_the_first_schema() -> None:
    script = (
        "import sys, longcall.broker, longcall.broker.server\n"
        "rules = 'longcall.broker.rules.'\n"
        "print([n for n in ('fastavro', 'grpc_tools.protoc', rules + 'avro', rules + 'protobuf')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_schemas_survive_a_kill(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "longcall.cli.main",
        "broker",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
    ]

    @contextmanager
    def broker() -> Iterator[Google]:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                port = process.stdout.readline().rpartition(" ")[2].strip()
                with google_clients(f"127.0.0.1:{port}") as clients:
                    yield clients
            finally:
                process.kill()

    with broker() as google:
        google.create(PROTO_V1, PROTO)
        google.create_topic()
        kept = google.commit(PROTO_V2, PROTO)
    with broker() as google:
        assert google.schemas.get_schema(name=SCHEMA) == kept
        google.publish(b'{"name": "a", "population": 5}')
        assert google.revision_ids() == [kept.revision_id]
