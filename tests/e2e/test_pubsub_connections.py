"""How the Google adapter uses its connections, seen from a server with Google's limit on streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import PubsubMessage, ReceivedMessage, StreamingPullRequest, StreamingPullResponse

from longcall.transport import TransportDenied, TransportUnavailable
from longcall.transport.pubsub import PubSubTransport, _open_channel

STREAMS_PER_CONNECTION = 100
INBOX = "projects/p/subscriptions/s"


class Server:
    """Answers each streaming pull with one message and keeps it open; knows who has called."""

    def __init__(self) -> None:
        self.peers: set[str] = set()

    async def streaming_pull(
        self, requests: AsyncIterator[StreamingPullRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[StreamingPullResponse]:
        self.peers.add(context.peer())
        message = ReceivedMessage(ack_id="1", message=PubsubMessage(data=b"x", message_id="1"))
        yield StreamingPullResponse(received_messages=[message])
        async for _request in requests:
            pass


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, Server]]:
    implementation = Server()
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION)])
    handler = grpc.stream_stream_rpc_method_handler(
        implementation.streaming_pull,
        request_deserializer=StreamingPullRequest.deserialize,
        response_serializer=StreamingPullResponse.serialize,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", {"StreamingPull": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", implementation
    finally:
        await server.stop(None)


async def test_more_streams_than_a_connection_takes_are_all_served() -> None:
    count = 2 * STREAMS_PER_CONNECTION + 10
    async with serving() as (address, server), AsyncExitStack() as stack:
        transport = PubSubTransport(emulator_host=address)
        stack.push_async_callback(transport.aclose)

        async def receive() -> bytes:
            stream = await stack.enter_async_context(transport.open_stream(INBOX, lease_s=10.0))
            return (await anext(aiter(stream))).message.data

        async with asyncio.timeout(60):
            received = await asyncio.gather(*(receive() for _ in range(count)))

    assert received == [b"x"] * count
    assert len(server.peers) == 3  # 80 streams each


async def test_stream_that_has_ended_leaves_its_place_to_another() -> None:
    async with serving() as (address, server):
        transport = PubSubTransport(emulator_host=address)
        for _ in range(STREAMS_PER_CONNECTION):
            async with transport.open_stream(INBOX, lease_s=10.0) as stream:
                await anext(aiter(stream))
        await transport.aclose()

    assert len(server.peers) == 1


async def test_server_out_of_reach_is_said_at_once() -> None:
    async with serving() as (address, _server):
        pass
    transport = PubSubTransport(emulator_host=address)

    with pytest.raises(TransportUnavailable) as caught:
        async with asyncio.timeout(20), transport.open_stream(INBOX, lease_s=10.0) as stream:
            await anext(aiter(stream))

    await transport.aclose()
    assert caught.value.resource == INBOX


async def test_channel_to_google_is_opened_as_googles_own_transport_does() -> None:
    transport = SubscriberGrpcAsyncIOTransport(
        credentials=AnonymousCredentials(),
        channel=lambda host, **settings: _open_channel(SubscriberGrpcAsyncIOTransport, host, **settings),
    )

    assert isinstance(transport.grpc_channel, grpc.aio.Channel)
    await transport.close()


async def test_missing_credentials_are_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
    transport = PubSubTransport.from_env({})

    with pytest.raises(TransportDenied, match="check the credentials"):
        await transport.create_topic("projects/p/topics/t")
    await transport.aclose()
