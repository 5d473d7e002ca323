"""gRPC server reflection: a tool that knows nothing of Pub/Sub finds its methods, and calls them."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from longcall.broker import BrokerConfig
from longcall.testing.broker import running_broker

GOOGLES_CLIENTS = {
    "google.pubsub.v1.Publisher": PublisherClient,
    "google.pubsub.v1.SchemaService": SchemaServiceClient,
    "google.pubsub.v1.Subscriber": SubscriberClient,
}


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    with running_broker(BrokerConfig(testing=True)) as address, grpc.insecure_channel(address) as channel:
        yield channel


def test_a_method_that_reflection_describes_can_be_called(channel: grpc.Channel) -> None:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    create = pool.FindServiceByName("google.pubsub.v1.Publisher").FindMethodByName("CreateTopic")
    topic = GetMessageClass(create.input_type)(name="projects/p/topics/found", labels={"a": "b"})
    call = channel.unary_unary(
        "/google.pubsub.v1.Publisher/CreateTopic",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(create.output_type).FromString,
    )
    assert call(topic).labels == {"a": "b"}


def test_services_are_listed_by_both_versions(channel: grpc.Channel) -> None:
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    for version in ("v1", "v1alpha"):
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        (answer,) = ask(iter([question]))
        listed = {service.name for service in answer.list_services_response.service}
        assert listed >= {
            *GOOGLES_CLIENTS,
            "google.iam.v1.IAMPolicy",
            "grpc.health.v1.Health",
            "longcall.broker.v1.Testing",
        }


def test_every_service_that_is_listed_is_described(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    for name in database.get_services():
        assert pool.FindServiceByName(name).methods


@pytest.mark.parametrize("service", GOOGLES_CLIENTS)
def test_responses_are_described_as_googles_client_has_them(channel: grpc.Channel, service: str) -> None:
    described = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(service)
    client = GOOGLES_CLIENTS[service]
    for method in described.methods:
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in method.name)[1:]
        returned = typing.get_type_hints(getattr(client, name))["return"]
        if method.client_streaming:
            returned = typing.get_args(returned)[0]
        if returned is type(None):
            assert method.output_type.full_name == "google.protobuf.Empty"
        elif name.startswith("list_"):
            assert method.output_type.name == f"{method.name}Response"
        else:
            assert method.output_type.name == returned.__name__
