"""The Google Pub/Sub adapter, on the async clients of google-cloud-pubsub.

Also the way to the embedded broker and to any emulator: with `emulator_host`
set, nobody is asked for credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, Self

import grpc
from google.api_core.exceptions import AlreadyExists, NotFound
from google.auth.credentials import AnonymousCredentials, Credentials
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import (
    ExpirationPolicy,
    PubsubMessage,
    ReceivedMessage,
    StreamingPullRequest,
    StreamingPullResponse,
    Subscription,
)

from longcall.contract import Message
from longcall.transport._google_errors import translated
from longcall.transport.errors import InboxConflict, InboxNotFound, TopicNotFound
from longcall.transport.port import Delivery, InboxSpec, InboxStream

__all__ = ["PubSubTransport"]

_EMULATOR_VARIABLE: Final = "PUBSUB_EMULATOR_HOST"
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 24 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
)
_STREAMS_PER_CHANNEL: Final = 80
"""Google closes a connection to new streams at about 100."""
_ACK_BATCH: Final = 1000
_KEEPALIVE_S: Final = 30.0
_TIMEOUT_S: Final = 30.0


class PubSubTransport:
    """`Transport` over Google Pub/Sub. Made in the event loop that uses it.

    Connections are opened when they are needed and shared: one for requests, and one for each
    `_STREAMS_PER_CHANNEL` streams.
    """

    def __init__(self, *, credentials: Credentials | None = None, emulator_host: str | None = None) -> None:
        """Keep what is needed to connect; no I/O.

        Args:
            credentials: None: Application Default Credentials.
            emulator_host: `host:port` of an emulator, reached without TLS or credentials.
        """
        self._credentials = AnonymousCredentials() if emulator_host else credentials
        self._emulator_host = emulator_host
        self._publisher: PublisherAsyncClient | None = None
        self._subscribers: list[SubscriberAsyncClient] = []
        self._streams: list[int] = []

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, credentials: Credentials | None = None) -> Self:
        """Connect to the emulator that `PUBSUB_EMULATOR_HOST` names, or to Google."""
        return cls(credentials=credentials, emulator_host=environ.get(_EMULATOR_VARIABLE) or None)

    async def create_topic(self, name: str) -> None:
        """Create a topic; one that exists is left as it is."""
        with translated(name), suppress(AlreadyExists):
            await self._publisher_client().create_topic(name=name, timeout=_TIMEOUT_S)

    async def publish(self, topic: str, message: Message) -> str:
        """Publish and return the message id; see `Transport.publish`."""
        wire = PubsubMessage(data=message.data, attributes=dict(message.attributes))
        with translated(topic, missing=TopicNotFound):
            answer = await self._publisher_client().publish(
                topic=topic, messages=[wire], timeout=_TIMEOUT_S, retry=None
            )
        return str(answer.message_ids[0])

    async def create_inbox(self, spec: InboxSpec) -> None:
        """Create the subscription; see `Transport.create_inbox`."""
        client = self._subscriber_client(0)
        expires = timedelta(seconds=spec.expires_after_s) if spec.expires_after_s is not None else None
        wanted = Subscription(
            name=spec.name,
            topic=spec.topic,
            filter=spec.filter,
            ack_deadline_seconds=round(spec.ack_deadline_s),
            message_retention_duration=timedelta(seconds=spec.retention_s),
            expiration_policy=ExpirationPolicy(ttl=expires) if expires else ExpirationPolicy(),
            labels=dict(spec.labels),
        )
        with translated(spec.topic, missing=TopicNotFound):
            try:
                await client.create_subscription(request=wanted, timeout=_TIMEOUT_S)
            except AlreadyExists:
                found = await client.get_subscription(subscription=spec.name, timeout=_TIMEOUT_S)
                _check_same(found, spec)

    async def delete_inbox(self, name: str) -> None:
        """Delete the subscription; see `Transport.delete_inbox`."""
        with translated(name), suppress(NotFound):
            await self._subscriber_client(0).delete_subscription(subscription=name, timeout=_TIMEOUT_S)

    @asynccontextmanager
    async def open_stream(self, inbox: str, *, lease_s: float) -> AsyncIterator[InboxStream]:
        """Open a streaming pull; see `Transport.open_stream`."""
        place = self._take_stream_place()
        closing = asyncio.Event()
        try:
            with translated(inbox, missing=InboxNotFound):
                call = await self._subscriber_client(place).streaming_pull(
                    requests=_stream_requests(inbox, lease_s, closing)
                )
            try:
                yield _Stream(inbox, call)
            finally:
                closing.set()
                call.cancel()
        finally:
            self._streams[place] -= 1

    async def acknowledge(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Acknowledge; see `Transport.acknowledge`."""
        for batch in _batches(ack_ids):
            with translated(inbox, missing=InboxNotFound):
                await self._subscriber_client(0).acknowledge(
                    subscription=inbox, ack_ids=batch, timeout=_TIMEOUT_S
                )

    async def extend(self, inbox: str, ack_ids: Sequence[str], *, lease_s: float) -> None:
        """Extend leases; see `Transport.extend`."""
        for batch in _batches(ack_ids):
            with translated(inbox, missing=InboxNotFound):
                await self._subscriber_client(0).modify_ack_deadline(
                    subscription=inbox,
                    ack_ids=batch,
                    ack_deadline_seconds=round(lease_s),
                    timeout=_TIMEOUT_S,
                )

    async def release(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Give leases up; see `Transport.release`."""
        await self.extend(inbox, ack_ids, lease_s=0)

    async def aclose(self) -> None:
        """Close every connection. A repeat does nothing."""
        publisher, self._publisher = self._publisher, None
        subscribers, self._subscribers, self._streams = self._subscribers, [], []
        for client in [publisher, *subscribers]:
            if client is not None:
                await client.transport.close()

    def _publisher_client(self) -> PublisherAsyncClient:
        if self._publisher is None:
            with translated("the publisher"):
                self._publisher = PublisherAsyncClient(transport=self._connect(PublisherGrpcAsyncIOTransport))
        return self._publisher

    def _subscriber_client(self, place: int) -> SubscriberAsyncClient:
        while len(self._subscribers) <= place:
            with translated("the subscriber"):
                self._subscribers.append(
                    SubscriberAsyncClient(transport=self._connect(SubscriberGrpcAsyncIOTransport))
                )
            self._streams.append(0)
        return self._subscribers[place]

    def _connect(
        self, kind: type[PublisherGrpcAsyncIOTransport | SubscriberGrpcAsyncIOTransport]
    ) -> PublisherGrpcAsyncIOTransport | SubscriberGrpcAsyncIOTransport:
        if self._emulator_host is None:
            return kind(credentials=self._credentials)
        channel = grpc.aio.insecure_channel(self._emulator_host, options=_CHANNEL_OPTIONS)
        return kind(channel=channel, credentials=self._credentials)

    def _take_stream_place(self) -> int:
        """Return which connection has room for one more stream, and take it. Requests use the first, too."""
        place = next((n for n, used in enumerate(self._streams) if used < _STREAMS_PER_CHANNEL), None)
        place = len(self._streams) if place is None else place
        self._subscriber_client(place)
        self._streams[place] += 1
        return place


class _Stream:
    def __init__(self, inbox: str, call: AsyncIterable[StreamingPullResponse]) -> None:
        self._inbox = inbox
        self._call = call

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        with translated(self._inbox, missing=InboxNotFound):
            async for response in self._call:
                for received in response.received_messages:
                    yield _delivery(received)


async def _stream_requests(
    inbox: str, lease_s: float, closing: asyncio.Event
) -> AsyncIterator[StreamingPullRequest]:
    """Open the stream, then keep it open: Google closes one that says nothing for about a minute."""
    yield StreamingPullRequest(subscription=inbox, stream_ack_deadline_seconds=round(lease_s))
    while not closing.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), _KEEPALIVE_S)
        yield StreamingPullRequest()


def _delivery(received: ReceivedMessage) -> Delivery:
    message = received.message
    return Delivery(
        ack_id=received.ack_id,
        message=Message(
            data=message.data,
            attributes=dict(message.attributes),
            message_id=message.message_id,
            publish_time=message.publish_time,
        ),
    )


def _check_same(found: Subscription, spec: InboxSpec) -> None:
    if (found.topic, found.filter) != (spec.topic, spec.filter):
        raise InboxConflict(
            f"{spec.name} exists with topic {found.topic} and filter {found.filter!r}, "
            f"not {spec.topic} and {spec.filter!r}: use another name, or delete it",
            resource=spec.name,
        )


def _batches(ack_ids: Sequence[str]) -> list[Sequence[str]]:
    return [ack_ids[start : start + _ACK_BATCH] for start in range(0, len(ack_ids), _ACK_BATCH)]
