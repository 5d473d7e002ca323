"""Faults and inspection where it gets harder: load, size, dead letters, topics, streams of a dying broker."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import StreamingPullRequest
from tests.e2e.processes import WAIT_S

from longcall.testing import BrokerProcess, InspectedBroker

TOPIC, DEAD = "projects/p/topics/work", "projects/p/topics/dead"
INBOX, OTHER = "projects/p/subscriptions/inbox", "projects/p/subscriptions/other"


class Clients:
    """Google's clients, and what their callback was given."""

    def __init__(self) -> None:
        self.publisher, self.subscriber = PublisherClient(), SubscriberClient()
        self.publisher.create_topic(name=TOPIC)
        self.received: list[Any] = []
        self._changed = threading.Condition()
        self._streaming: list[Any] = []

    def subscribe(self, name: str, act: Callable[[Any], object] = lambda message: message.ack()) -> None:
        def receive(message: Any) -> None:
            act(message)
            with self._changed:
                self.received.append(message)
                self._changed.notify_all()

        self._streaming.append(self.subscriber.subscribe(name, receive))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), len(self.received)

    def create(self, name: str = INBOX, **fields: Any) -> None:
        self.subscriber.create_subscription(request={"name": name, "topic": TOPIC, **fields})

    def publish(self, *bodies: bytes) -> None:
        for future in [self.publisher.publish(TOPIC, body) for body in bodies]:
            future.result(WAIT_S)

    def close(self) -> None:
        for streaming in self._streaming:
            streaming.cancel()
            streaming.result(WAIT_S)
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()


@pytest.fixture
def clients(longcall_broker: InspectedBroker) -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


@pytest.fixture
def process_clients(longcall_broker_process: BrokerProcess) -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


def test_nothing_is_lost_while_streams_break_and_publishes_are_refused(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    clients.create()
    longcall_broker.refuse("Publish", share=0.3, seed=1)
    longcall_broker.refuse("StreamingPull", times=1)
    clients.subscribe(INBOX)
    bodies = [b"%d" % n for n in range(150)]
    for n in range(0, 150, 50):
        clients.publish(*bodies[n : n + 50])
        longcall_broker.break_streams("inbox")
    longcall_broker.wait_for("delivered", INBOX, count=150)
    longcall_broker.advance(601)  # what was on its way in a stream that broke is leased until then
    clients.wait_until(lambda: {each.data for each in clients.received} == set(bodies))


def test_dead_letter_is_seen_on_both_sides(longcall_broker: InspectedBroker, clients: Clients) -> None:
    clients.publisher.create_topic(name=DEAD)
    clients.create(dead_letter_policy={"dead_letter_topic": DEAD, "max_delivery_attempts": 5})
    clients.subscribe(INBOX, lambda message: message.nack())
    clients.publish(b"x")
    (letter,) = longcall_broker.wait_for("published", "dead")
    assert letter.data == b"x"
    assert letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert [event.attempt for event in longcall_broker.delivered("inbox")] == [1, 2, 3, 4, 5]
    assert [event.what for event in longcall_broker.events()][-2:] == ["dead_lettered", "published"]


def test_events_are_in_the_order_in_which_things_happened(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    clients.create()
    clients.subscribe(INBOX)
    for n in range(20):
        clients.publish(b"%d" % n)
    longcall_broker.wait_for("acknowledged", INBOX, count=20)
    events = longcall_broker.events()
    for message_id in {event.message_id for event in events}:
        happened = [event.what for event in events if event.message_id == message_id]
        assert happened == ["published", "delivered", "acknowledged"]
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_many_and_large_messages_can_all_be_seen(longcall_broker: InspectedBroker, clients: Clients) -> None:
    clients.publish(*[b"%d" % n for n in range(3000)])
    clients.publish(b"x" * 9_000_000, b"y" * 3_000_000, b"z" * 3_000_000)
    published = longcall_broker.wait_for("published", TOPIC, count=3003)
    assert published == longcall_broker.published("work")
    assert sorted(len(event.data) for event in published)[-3:] == [3_000_000, 3_000_000, 9_000_000]


def test_fault_of_a_topic_is_for_all_its_subscriptions(
    longcall_broker: InspectedBroker, clients: Clients
) -> None:
    clients.create(INBOX)
    clients.create(OTHER)
    longcall_broker.drop("work", times=2)
    clients.publish(b"x")
    assert {event.where for event in longcall_broker.wait_for("dropped", INBOX)} == {INBOX}
    assert {event.where for event in longcall_broker.wait_for("dropped", "other")} == {OTHER}


def test_streams_of_a_subscription_that_is_not_there_cannot_be_broken(
    longcall_broker: InspectedBroker,
) -> None:
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        longcall_broker.break_streams("nowhere")


def test_stream_that_kills_its_broker_is_opened_again_after_a_start(
    longcall_broker_process: BrokerProcess, process_clients: Clients
) -> None:
    process_clients.create()
    process_clients.publish(b"x")
    longcall_broker_process.crash("StreamingPull", times=1)
    ended = Queue[None]()

    def first_response() -> Any:
        opening = StreamingPullRequest(subscription=INBOX, stream_ack_deadline_seconds=10)
        requests = itertools.chain([opening], iter(ended.get, None))
        stream = process_clients.subscriber.streaming_pull(requests=requests, retry=None)
        try:
            return next(stream)
        finally:
            stream.cancel()
            ended.put(None)

    with pytest.raises(ServiceUnavailable):
        first_response()
    longcall_broker_process.wait_until_dead()
    longcall_broker_process.start()
    again = Retry(if_exception_type(ServiceUnavailable), initial=0.05, timeout=WAIT_S)
    (received,) = again(first_response)().received_messages
    assert received.message.data == b"x"
