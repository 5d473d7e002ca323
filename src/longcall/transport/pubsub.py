"""The Google Pub/Sub adapter, on the async clients of google-cloud-pubsub.

Also the way to the embedded broker and to any emulator: with `emulator_host`
set, nobody is asked for credentials.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final, Self, TypeAlias

import grpc
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    NotFound,
    ResourceExhausted,
    ServiceUnavailable,
    Unknown,
)
from google.api_core.retry import AsyncRetry, if_exception_type
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
    Topic,
)

from longcall.contract import Message
from longcall.transport._google_errors import translated
from longcall.transport.errors import (
    InboxConflict,
    InboxNotFound,
    TopicNotFound,
    TransportRefused,
    TransportUnavailable,
)
from longcall.transport.port import Delivery, FoundInbox, InboxSpec, InboxStream

__all__ = ["PubSubTransport"]

_EMULATOR_VARIABLE: Final = "PUBSUB_EMULATOR_HOST"
_POOLED_OPTIONS: Final = (
    # Without it channels to one address share one connection, and a pool of them is none.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC's own pause grows to two minutes; a broker that is back is to be found at once.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
_EMULATOR_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 24 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    *_POOLED_OPTIONS,
)
_STREAMS_PER_CONNECTION: Final = 80
"""Google closes a connection to new streams at about 100."""
_ACK_BATCH: Final = 1000
_KEEPALIVE_S: Final = 30.0
_TIMEOUT_S: Final = 30.0
_ADMIN_RETRY: Final = AsyncRetry(
    predicate=if_exception_type(Aborted, ResourceExhausted, ServiceUnavailable, Unknown),
    initial=0.1,
    maximum=2.0,
    timeout=10.0,
)
"""For requests that a repeat does not harm; the others are their caller's to repeat."""

_TransportKind: TypeAlias = type[PublisherGrpcAsyncIOTransport] | type[SubscriberGrpcAsyncIOTransport]


class PubSubTransport:
    """`Transport` over Google Pub/Sub. Made in the event loop that uses it.

    Connections are opened when they are needed and shared: one to publish, one for other requests, and
    one for each 80 streams, closed when it carries none and another has room.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        emulator_host: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        """Keep what is needed to connect; no I/O.

        Args:
            credentials: None: Application Default Credentials.
            emulator_host: `host:port` of an emulator, reached without TLS or credentials.
            endpoint: `host` or `host:port` of Google Pub/Sub, e.g. a region's; None: the global one.
        """
        self._credentials = AnonymousCredentials() if emulator_host else credentials
        self._emulator_host = emulator_host
        self._endpoint = endpoint
        self._publisher: PublisherAsyncClient | None = None
        self._subscriber: SubscriberAsyncClient | None = None
        self._streamers: list[_Streamer] = []
        self._closed = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, credentials: Credentials | None = None) -> Self:
        """Connect to the emulator that `PUBSUB_EMULATOR_HOST` names, or to Google."""
        return cls(credentials=credentials, emulator_host=environ.get(_EMULATOR_VARIABLE) or None)

    async def create_topic(self, name: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Create a topic; see `Transport.create_topic`."""
        wanted = Topic(name=name, labels=dict(labels or {}))
        with translated(name), suppress(AlreadyExists):
            await self._publisher_client().create_topic(
                request=wanted, timeout=_TIMEOUT_S, retry=_ADMIN_RETRY
            )

    async def delete_topic(self, name: str) -> None:
        """Delete a topic; see `Transport.delete_topic`."""
        with translated(name), suppress(NotFound):
            await self._publisher_client().delete_topic(topic=name, timeout=_TIMEOUT_S, retry=_ADMIN_RETRY)

    async def publish(self, topic: str, message: Message) -> str:
        """Publish and return the message id; see `Transport.publish`."""
        wire = PubsubMessage(data=message.data, attributes=dict(message.attributes))
        with translated(topic, missing=TopicNotFound):
            answer = await self._publisher_client().publish(
                topic=topic, messages=[wire], timeout=_TIMEOUT_S, retry=None
            )
        return str(answer.message_ids[0])

    async def create_inbox(self, spec: InboxSpec) -> None:
        """Create the subscription; see `Transport.create_inbox`.

        A lasting one is first looked for: it is there, as a rule, and then needs no right to create it.
        """
        client = self._subscriber_client()
        if spec.expires_after_s is None and await self._is_there(spec):
            return
        wanted = Subscription(
            name=spec.name,
            topic=spec.topic,
            filter=spec.filter,
            ack_deadline_seconds=round(spec.ack_deadline_s),
            message_retention_duration=timedelta(seconds=spec.retention_s),
            expiration_policy=_expiration(spec.expires_after_s),
            labels=dict(spec.labels),
        )
        with translated(spec.topic, missing=TopicNotFound):
            try:
                await client.create_subscription(request=wanted, timeout=_TIMEOUT_S, retry=_ADMIN_RETRY)
            except AlreadyExists:
                # Gone again in between: another try will create it.
                with translated(spec.name, missing=TransportUnavailable):
                    found = await client.get_subscription(
                        subscription=spec.name, timeout=_TIMEOUT_S, retry=_ADMIN_RETRY
                    )
                _check_same(found, spec)

    async def _is_there(self, spec: InboxSpec) -> bool:
        with translated(spec.name), suppress(NotFound):
            found = await self._subscriber_client().get_subscription(
                subscription=spec.name, timeout=_TIMEOUT_S, retry=_ADMIN_RETRY
            )
            _check_same(found, spec)
            return True
        return False

    async def granted(self, inbox: str, permissions: Sequence[str]) -> frozenset[str]:
        """Return which of these IAM permissions the credentials have on an inbox."""
        with translated(inbox, missing=InboxNotFound):
            answer = await self._subscriber_client().test_iam_permissions(
                request={"resource": inbox, "permissions": list(permissions)}, timeout=_TIMEOUT_S
            )
        return frozenset(answer.permissions)

    async def delete_inbox(self, name: str) -> None:
        """Delete the subscription; see `Transport.delete_inbox`."""
        with translated(name), suppress(NotFound):
            await self._subscriber_client().delete_subscription(
                subscription=name, timeout=_TIMEOUT_S, retry=_ADMIN_RETRY
            )

    async def list_inboxes(self, project: str) -> Sequence[FoundInbox]:
        """List the subscriptions; see `Transport.list_inboxes`."""
        with translated(f"projects/{project}"):
            listed = await self._subscriber_client().list_subscriptions(
                project=f"projects/{project}", timeout=_TIMEOUT_S, retry=_ADMIN_RETRY
            )
            return [
                FoundInbox(name=found.name, topic=found.topic, labels=dict(found.labels))
                async for found in listed
            ]

    async def list_topics(self, project: str) -> Mapping[str, Mapping[str, str]]:
        """List the topics; see `Transport.list_topics`."""
        with translated(f"projects/{project}"):
            listed = await self._publisher_client().list_topics(
                project=f"projects/{project}", timeout=_TIMEOUT_S, retry=_ADMIN_RETRY
            )
            return {found.name: dict(found.labels) async for found in listed}

    @asynccontextmanager
    async def open_stream(self, inbox: str, *, lease_s: float) -> AsyncIterator[InboxStream]:
        """Open a streaming pull; see `Transport.open_stream`."""
        streamer = self._streamer_with_room()
        streamer.streams += 1
        closing = asyncio.Event()
        try:
            # The client's own retry would send the rest of a used-up iterator of requests, and its
            # timeout would end the stream after half an hour.
            with translated(inbox, missing=InboxNotFound):
                call = await streamer.client.streaming_pull(
                    requests=_stream_requests(inbox, lease_s, closing), retry=None, timeout=None
                )
            try:
                yield _Stream(inbox, call)
            finally:
                closing.set()
                call.cancel()
        finally:
            streamer.streams -= 1
            await self._close_if_spare(streamer)

    async def acknowledge(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Acknowledge; see `Transport.acknowledge`."""
        for batch in _batches(ack_ids):
            with translated(inbox, missing=InboxNotFound):
                await self._subscriber_client().acknowledge(
                    subscription=inbox, ack_ids=batch, timeout=_TIMEOUT_S, retry=None
                )

    async def extend(self, inbox: str, ack_ids: Sequence[str], *, lease_s: float) -> None:
        """Extend leases; see `Transport.extend`."""
        for batch in _batches(ack_ids):
            with translated(inbox, missing=InboxNotFound):
                await self._subscriber_client().modify_ack_deadline(
                    subscription=inbox,
                    ack_ids=batch,
                    ack_deadline_seconds=round(lease_s),
                    timeout=_TIMEOUT_S,
                    retry=None,
                )

    async def release(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Give leases up; see `Transport.release`."""
        await self.extend(inbox, ack_ids, lease_s=0)

    async def aclose(self) -> None:
        """Close every connection, and with them the streams; see `Transport.aclose`."""
        self._closed = True
        clients = [self._publisher, self._subscriber, *(streamer.client for streamer in self._streamers)]
        self._publisher, self._subscriber, self._streamers = None, None, []
        for client in clients:
            if client is not None:
                await client.transport.close()

    def _publisher_client(self) -> PublisherAsyncClient:
        if self._publisher is None:
            self._publisher = PublisherAsyncClient(transport=self._connect(PublisherGrpcAsyncIOTransport))
        return self._publisher

    def _subscriber_client(self) -> SubscriberAsyncClient:
        if self._subscriber is None:
            self._subscriber = SubscriberAsyncClient(transport=self._connect(SubscriberGrpcAsyncIOTransport))
        return self._subscriber

    def _streamer_with_room(self) -> _Streamer:
        for streamer in self._streamers:
            if streamer.streams < _STREAMS_PER_CONNECTION:
                return streamer
        client = SubscriberAsyncClient(transport=self._connect(SubscriberGrpcAsyncIOTransport))
        self._streamers.append(_Streamer(client))
        return self._streamers[-1]

    async def _close_if_spare(self, streamer: _Streamer) -> None:
        others = (other for other in self._streamers if other is not streamer)
        if streamer.streams or not any(other.streams < _STREAMS_PER_CONNECTION for other in others):
            return
        if streamer in self._streamers:
            self._streamers.remove(streamer)
            await streamer.client.transport.close()

    def _connect(
        self, kind: _TransportKind
    ) -> PublisherGrpcAsyncIOTransport | SubscriberGrpcAsyncIOTransport:
        if self._closed:
            raise TransportRefused("the transport was closed: make another")
        with translated("Pub/Sub"):
            if self._emulator_host is None:
                return kind(
                    host=self._endpoint or kind.DEFAULT_HOST,
                    credentials=self._credentials,
                    channel=partial(_open_channel, kind),
                )
            channel = grpc.aio.insecure_channel(self._emulator_host, options=_EMULATOR_OPTIONS)
            return kind(channel=channel, credentials=self._credentials)


class _Streamer:
    """A connection for streams, and how many it carries."""

    def __init__(self, client: SubscriberAsyncClient) -> None:
        self.client = client
        self.streams = 0


class _Stream:
    def __init__(self, inbox: str, call: AsyncIterable[StreamingPullResponse]) -> None:
        self._inbox = inbox
        self._responses = aiter(call)
        self._ready: deque[Delivery] = deque()

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while not self._ready:
            with translated(self._inbox, missing=InboxNotFound):
                response = await anext(self._responses)
            self._ready.extend(map(_delivery, response.received_messages))
        return self._ready.popleft()


def _open_channel(
    kind: _TransportKind, host: str, *, options: Sequence[tuple[str, int]], **settings: object
) -> grpc.aio.Channel:
    """Open a connection as Google's transport does, but not one that others share."""
    channel: grpc.aio.Channel = kind.create_channel(host, options=[*options, *_POOLED_OPTIONS], **settings)
    return channel


async def _stream_requests(
    inbox: str, lease_s: float, closing: asyncio.Event
) -> AsyncIterator[StreamingPullRequest]:
    """Open the stream, then keep it open: Google closes one that says nothing for about a minute."""
    yield StreamingPullRequest(subscription=inbox, stream_ack_deadline_seconds=round(lease_s))
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_KEEPALIVE_S):
                await closing.wait()
            return
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


def _expiration(after_s: float | None) -> ExpirationPolicy:
    # A policy without a duration means never; no policy means 31 days.
    return ExpirationPolicy(ttl=timedelta(seconds=after_s)) if after_s is not None else ExpirationPolicy()


def _check_same(found: Subscription, spec: InboxSpec) -> None:
    if (found.topic, found.filter) != (spec.topic, spec.filter):
        raise InboxConflict(
            f"{spec.name} exists with topic {found.topic} and filter {found.filter!r}, "
            f"not {spec.topic} and {spec.filter!r}: use another name, or delete it",
            resource=spec.name,
        )


def _batches(ack_ids: Sequence[str]) -> list[Sequence[str]]:
    return [ack_ids[start : start + _ACK_BATCH] for start in range(0, len(ack_ids), _ACK_BATCH)]
