"""Google's clients for schemas, and what tests say with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Encoding, Schema

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
