"""What schemas do on every server that has them. Google's emulator has Avro only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Encoding, Schema

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")

JSON, BINARY = Encoding.JSON, Encoding.BINARY
STATE = json.dumps(
    {
        "type": "record",
        "name": "State",
        "fields": [
            {"name": "name", "type": "string"},
            {"name": "size", "type": "int", "default": 3},
            {"name": "motto", "type": ["null", "string"], "default": None},
        ],
    }
)
SHORT = json.dumps({"type": "record", "name": "State", "fields": [{"name": "name", "type": "string"}]})


class Google:
    """The clients of one server, and names of one test."""

    def __init__(self, channel: grpc.Channel) -> None:
        anyone = AnonymousCredentials()
        self.schemas = SchemaServiceClient(
            transport=SchemaServiceGrpcTransport(channel=channel, credentials=anyone)
        )
        self.publisher = PublisherClient(
            transport=PublisherGrpcTransport(channel=channel, credentials=anyone)
        )
        self.subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(channel=channel, credentials=anyone)
        )
        self.project = f"projects/p-{uuid4().hex}"
        self.schema = f"{self.project}/schemas/state"
        self.topic = f"{self.project}/topics/states"
        self.inbox = f"{self.project}/subscriptions/inbox"

    def create(self, definition: str = STATE, schema_id: str = "state") -> Schema:
        schema = {"type_": Schema.Type.AVRO, "definition": definition}
        return self.schemas.create_schema(parent=self.project, schema_id=schema_id, schema=schema)

    def commit(self, definition: str = STATE) -> Schema:
        schema = {"type_": Schema.Type.AVRO, "definition": definition}
        return self.schemas.commit_schema(name=self.schema, schema=schema)

    def create_topic(self, **settings: Any) -> Any:
        settings = {"schema": self.schema, "encoding": JSON, **settings}
        return self.publisher.create_topic(request={"name": self.topic, "schema_settings": settings})

    def check(self, data: bytes, encoding: Encoding) -> None:
        self.schemas.validate_message(
            request={"parent": self.project, "name": self.schema, "message": data, "encoding": encoding}
        )


@pytest.fixture
def google(pubsub_address: str) -> Iterator[Google]:
    with grpc.insecure_channel(pubsub_address) as channel:
        yield Google(channel)


def test_schema_is_created_shown_and_deleted(google: Google) -> None:
    created = google.create()
    assert (created.name, created.definition) == (google.schema, STATE)
    assert google.schemas.get_schema(name=google.schema) == created
    assert [schema.name for schema in google.schemas.list_schemas(parent=google.project)] == [google.schema]
    with pytest.raises(AlreadyExists):
        google.create()
    google.schemas.delete_schema(name=google.schema)
    for again in (google.schemas.get_schema, google.schemas.delete_schema):
        with pytest.raises(NotFound):
            again(name=google.schema)


@pytest.mark.parametrize("schema_id", ["", "ab", "googx"])
def test_name_that_is_none(google: Google, schema_id: str) -> None:
    with pytest.raises(InvalidArgument):
        google.create(schema_id=schema_id)


@pytest.mark.parametrize("definition", ["", "{", '"strin"', STATE.replace("3", '"x"')])
def test_definition_that_is_none(google: Google, definition: str) -> None:
    with pytest.raises(InvalidArgument):
        google.create(definition)
    with pytest.raises(InvalidArgument):
        google.schemas.validate_schema(
            parent=google.project, schema={"type_": Schema.Type.AVRO, "definition": definition}
        )


@pytest.mark.parametrize("definition", ['"string"', '["null","int"]', '{"type":"array","items":"int"}'])
def test_definition_need_not_be_a_record(google: Google, definition: str) -> None:
    assert google.create(definition).definition == definition


def test_revisions_are_kept_in_order(google: Google) -> None:
    first, second = google.create(), google.commit(SHORT)
    third = google.schemas.rollback_schema(name=google.schema, revision_id=first.revision_id)
    listed = google.schemas.list_schema_revisions(name=google.schema)
    ids = [first.revision_id, second.revision_id, third.revision_id]
    assert [schema.revision_id for schema in listed] == ids
    assert google.schemas.get_schema(name=google.schema).definition == STATE
    assert google.schemas.get_schema(name=f"{google.schema}@{ids[1]}").definition == SHORT
    names = [f"{google.schema}@{revision_id}" for revision_id in ids]
    assert google.schemas.delete_schema_revision(name=names[0]).revision_id == ids[0]
    with pytest.raises(NotFound):
        google.schemas.delete_schema_revision(name=names[0])
    google.schemas.delete_schema_revision(name=names[1])
    with pytest.raises(InvalidArgument):
        google.schemas.delete_schema_revision(name=names[2])


def test_revisions_are_twenty_at_most(google: Google) -> None:
    google.create()
    for _ in range(19):
        google.commit()
    with pytest.raises(ResourceExhausted):
        google.commit()


@pytest.mark.parametrize(
    ("data", "encoding", "fits"),
    [
        (b'{"name":"a","size":1,"motto":null}', JSON, True),
        (b'{"name":"a","size":1,"motto":{"string":"x"}}', JSON, True),
        (b'{\n"motto": null, "size": 1, "name": "a"}', JSON, True),
        (b'{"name":"a","size":1,"motto":null,"more":1}', JSON, True),
        (b'{"name":"a","size":1,"motto":"x"}', JSON, False),
        (b'{"name":"a"}', JSON, False),
        (b'{"name":1,"size":1,"motto":null}', JSON, False),
        (b'{"name":"a","size":99999999999,"motto":null}', JSON, False),
        (b"{", JSON, False),
        (b"", JSON, False),
        (b"[]", JSON, False),
        (b"\x02a\x02\x00", BINARY, True),
        (b"\x02a\x02\x02\x02x", BINARY, True),
        (b"\x02a", BINARY, False),
        (b"", BINARY, False),
        (b"\x02a\x02\x09", BINARY, False),
        (b"\x02a\xff\xff\xff\xff\xff\x7f\x00", BINARY, False),
    ],
)
def test_message_is_checked(google: Google, data: bytes, encoding: Encoding, fits: bool) -> None:
    google.create()
    if fits:
        google.check(data, encoding)
    else:
        with pytest.raises(InvalidArgument):
            google.check(data, encoding)


def test_settings_of_a_topic_are_checked(google: Google) -> None:
    first, second = google.create(), google.commit()
    for settings, error in (
        ({"schema": f"{google.project}/schemas/other"}, NotFound),
        ({"encoding": Encoding.ENCODING_UNSPECIFIED}, InvalidArgument),
        ({"schema": ""}, InvalidArgument),
        ({"first_revision_id": "00000000"}, NotFound),
        ({"first_revision_id": second.revision_id, "last_revision_id": first.revision_id}, InvalidArgument),
    ):
        with pytest.raises(error):
            google.create_topic(**settings)


def test_published_messages_are_checked_and_say_their_schema(google: Google) -> None:
    created = google.create()
    settings = google.create_topic().schema_settings
    assert (settings.schema, settings.encoding) == (google.schema, JSON)
    google.subscriber.create_subscription(name=google.inbox, topic=google.topic)
    right, wrong = {"data": b'{"name":"a","size":1,"motto":null}'}, {"data": b"x"}
    with pytest.raises(InvalidArgument):
        google.publisher.publish(topic=google.topic, messages=[right, wrong])
    with pytest.raises(InvalidArgument):
        google.publisher.publish(topic=google.topic, messages=[{"attributes": {"a": "b"}}])
    google.publisher.publish(topic=google.topic, messages=[right])
    answer = google.subscriber.pull(
        request={"subscription": google.inbox, "max_messages": 10, "return_immediately": True}
    )
    assert [dict(received.message.attributes) for received in answer.received_messages] == [
        {
            "googclient_schemaname": google.schema,
            "googclient_schemaencoding": "JSON",
            "googclient_schemarevisionid": created.revision_id,
        }
    ]


def test_topic_outlives_its_schema_and_takes_no_messages(google: Google) -> None:
    google.create()
    google.create_topic()
    google.schemas.delete_schema(name=google.schema)
    google.create()
    assert google.publisher.get_topic(topic=google.topic).schema_settings.schema == "_deleted-schema_"
    with pytest.raises(NotFound):
        google.publisher.publish(
            topic=google.topic, messages=[{"data": b'{"name":"a","size":1,"motto":null}'}]
        )
