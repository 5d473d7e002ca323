"""A Pub/Sub server as any client sees it: the plain methods of the API, and what a test asks of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import types as T
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

PROJECT = "projects/p"
WAIT_S = float(os.environ.get("LONGCALL_CONFORMANCE_WAIT_S", "20"))
DAY_S = 86400


@dataclass
class PubSub:
    """One server. The transports are the bare methods: no retries, no defaults.

    Attributes:
        name: of the system, as the suite knows it.
        address: host and port.
        advance: let so many seconds pass; only where the server has a clock of the test's.
    """

    name: str
    address: str
    publisher: PublisherGrpcTransport
    subscriber: SubscriberGrpcTransport
    schemas: SchemaServiceGrpcTransport
    advance: Callable[[float], None]

    def topic(self, **fields: Any) -> str:
        """Create a topic."""
        name = f"{PROJECT}/topics/t-{uuid4().hex}"
        self.publisher.create_topic(T.Topic(name=name, **fields), timeout=WAIT_S)
        return name

    def subscribe(self, topic: str, **fields: Any) -> str:
        """Create a subscription."""
        name = f"{PROJECT}/subscriptions/s-{uuid4().hex}"
        self.subscriber.create_subscription(T.Subscription(name=name, topic=topic, **fields), timeout=WAIT_S)
        return name

    def pair(self, **fields: Any) -> tuple[str, str]:
        """Create a topic and a subscription on it."""
        topic = self.topic()
        return topic, self.subscribe(topic, **fields)

    def publish(self, topic: str, *texts: str, ordering_key: str = "", **attributes: str) -> list[str]:
        """Publish messages in one request; return their ids."""
        messages = [
            T.PubsubMessage(data=text.encode(), attributes=attributes, ordering_key=ordering_key)
            for text in texts
        ]
        request = T.PublishRequest(topic=topic, messages=messages)
        return list(self.publisher.publish(request, timeout=WAIT_S).message_ids)

    def pull(self, subscription: str, count: int = 1000) -> list[T.ReceivedMessage]:
        """Take what is there now."""
        request = T.PullRequest(subscription=subscription, max_messages=count, return_immediately=True)
        return list(self.subscriber.pull(request, timeout=WAIT_S).received_messages)

    def receive(self, subscription: str, count: int) -> list[T.ReceivedMessage]:
        """Take so many, in as many requests as it needs."""
        received: list[T.ReceivedMessage] = []
        while len(received) < count:
            request = T.PullRequest(subscription=subscription, max_messages=count - len(received))
            received += self.subscriber.pull(request, timeout=WAIT_S).received_messages
        return received

    def texts(self, subscription: str, count: int) -> list[str]:
        """Take so many and return their data."""
        return [received.message.data.decode() for received in self.receive(subscription, count)]

    def acknowledge(self, subscription: str, *received: T.ReceivedMessage) -> None:
        """Acknowledge messages."""
        ack_ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(
            T.AcknowledgeRequest(subscription=subscription, ack_ids=ack_ids), timeout=WAIT_S
        )

    def extend(self, subscription: str, seconds: int, *received: T.ReceivedMessage) -> None:
        """Change the deadline of deliveries; 0 gives them back."""
        request = T.ModifyAckDeadlineRequest(
            subscription=subscription,
            ack_ids=[each.ack_id for each in received],
            ack_deadline_seconds=seconds,
        )
        self.subscriber.modify_ack_deadline(request, timeout=WAIT_S)

    def get_subscription(self, name: str) -> T.Subscription:
        """Read a subscription."""
        return self.subscriber.get_subscription(T.GetSubscriptionRequest(subscription=name), timeout=WAIT_S)

    def update_subscription(self, name: str, *paths: str, **fields: Any) -> T.Subscription:
        """Change the named fields of a subscription."""
        request = T.UpdateSubscriptionRequest(
            subscription=T.Subscription(name=name, **fields), update_mask={"paths": paths}
        )
        return self.subscriber.update_subscription(request, timeout=WAIT_S)

    @contextmanager
    def stream(self, subscription: str, **first: Any) -> Iterator[Stream]:
        """Open a streaming pull, and cancel it in the end."""
        if self.name == "http":
            pytest.skip("there are no streams over HTTP")
        opened = Stream(self, subscription, **first)
        try:
            yield opened
        finally:
            opened.cancel()


class Stream:
    """A streaming pull that the test reads and writes by hand."""

    def __init__(self, server: PubSub, subscription: str, **first: Any) -> None:
        self._requests: Queue[T.StreamingPullRequest | None] = Queue()
        opening = {"stream_ack_deadline_seconds": 10} | first
        self._requests.put(T.StreamingPullRequest(subscription=subscription, **opening))
        self._call = server.subscriber.streaming_pull(iter(self._requests.get, None), timeout=WAIT_S)

    def send(self, **fields: Any) -> None:
        """Send another request."""
        self._requests.put(T.StreamingPullRequest(**fields))

    def half_close(self) -> None:
        """Send nothing more."""
        self._requests.put(None)

    def next(self) -> T.StreamingPullResponse:
        """Wait for a response."""
        return next(self._call)

    def receive(self, count: int) -> list[T.ReceivedMessage]:
        """Wait for so many messages."""
        received: list[T.ReceivedMessage] = []
        while len(received) < count:
            received += self.next().received_messages
        return received

    def cancel(self) -> None:
        """End it from here."""
        self._requests.put(None)
        self._call.cancel()


@contextmanager
def refused(code: str, says: str = "") -> Iterator[pytest.ExceptionInfo[grpc.RpcError]]:
    """Expect a call to be refused with a status, and a message that contains `says`."""
    with pytest.raises(grpc.RpcError) as raised:
        yield raised
    assert raised.value.code().name == code, raised.value
    assert says in raised.value.details(), raised.value.details()


def error_info(error: grpc.RpcError) -> ErrorInfo:
    """Return the ErrorInfo in the details of a status."""
    metadata = dict(error.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


@contextmanager
def connected(name: str, address: str, advance: Callable[[float], None]) -> Iterator[PubSub]:
    """Connect to a server."""
    with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        anyone = AnonymousCredentials()
        yield PubSub(
            name,
            address,
            PublisherGrpcTransport(channel=channel, credentials=anyone),
            SubscriberGrpcTransport(channel=channel, credentials=anyone),
            SchemaServiceGrpcTransport(channel=channel, credentials=anyone),
            advance,
        )


def at(seconds: float) -> dict[str, int]:
    """Return a Duration."""
    return {"seconds": int(seconds)}
