"""What users of Google's own client library rely on, with its ordinary settings."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.publisher.exceptions import PublishToPausedOrderingKeyException
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError, AcknowledgeStatus
from google.cloud.pubsub_v1.types import BatchSettings, FlowControl, PublisherOptions

WAIT_S = 60.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "longcall.cli.main", "broker", "--port", "0", "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split()[-1]
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=WAIT_S)


@pytest.fixture(autouse=True)
def _emulator(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)


class Callbacks:
    """Collects what `subscribe()` hands to a callback."""

    def __init__(self, act: Callable[[Any], object] = lambda message: message.ack()) -> None:
        self.messages: list[Any] = []
        self._act = act
        self._changed = threading.Condition()

    def __call__(self, message: Any) -> None:
        self._act(message)
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[bytes]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, WAIT_S), len(self.messages)
        return [message.data for message in self.messages]


@pytest.fixture
def topic() -> str:
    name = f"projects/p/topics/t-{uuid4().hex}"
    with_defaults = pubsub_v1.PublisherClient()
    with_defaults.create_topic(name=name)
    with_defaults.stop()
    with_defaults.transport.close()
    return name


@pytest.fixture
def subscriber() -> Iterator[pubsub_v1.SubscriberClient]:
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture
def publisher() -> Iterator[pubsub_v1.PublisherClient]:
    client = pubsub_v1.PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=True))
    yield client
    client.stop()
    client.transport.close()


def _subscribe(subscriber: pubsub_v1.SubscriberClient, topic: str, **fields: Any) -> str:
    name = f"projects/p/subscriptions/s-{uuid4().hex}"
    subscriber.create_subscription(request={"name": name, "topic": topic, **fields})
    return name


def test_backlog_of_large_messages_drains(topic: str, publisher: Any, subscriber: Any) -> None:
    """The client accepts 4 MiB a response: Google's emulator delivers none of nine messages of 1 MB."""
    name = _subscribe(subscriber, topic)
    body = b"x" * 1_000_000
    for future in [publisher.publish(topic, body) for _ in range(40)]:
        future.result(WAIT_S)
    received = Callbacks()
    streaming = subscriber.subscribe(name, received)
    assert received.wait_for(40) == [body] * 40
    streaming.cancel()
    streaming.result(WAIT_S)


def test_flow_control_holds_messages_back(topic: str, publisher: Any, subscriber: Any) -> None:
    name = _subscribe(subscriber, topic)
    for future in [publisher.publish(topic, str(n).encode()) for n in range(10)]:
        future.result(WAIT_S)
    held: list[Any] = []
    received = Callbacks(held.append)
    streaming = subscriber.subscribe(name, received, flow_control=FlowControl(max_messages=3))
    received.wait_for(3)
    # The others are with the broker, not in the client: somebody else can have them.
    others = subscriber.pull(subscription=name, max_messages=100).received_messages
    assert len(others) == 7
    streaming.cancel()
    streaming.result(WAIT_S)


def test_keys_arrive_in_order_and_publishing_resumes_after_an_error(
    topic: str, publisher: Any, subscriber: Any
) -> None:
    name = _subscribe(subscriber, topic, enable_message_ordering=True)
    received = Callbacks()
    streaming = subscriber.subscribe(name, received)
    for n in range(50):
        for key in ("a", "b"):
            publisher.publish(topic, f"{key}{n}".encode(), ordering_key=key)
    texts = received.wait_for(100)
    for key in (b"a", b"b"):
        assert [text for text in texts if text.startswith(key)] == [key + b"%d" % n for n in range(50)]
    missing = topic + "-missing"
    with pytest.raises(NotFound):
        publisher.publish(missing, b"x", ordering_key="k").result(WAIT_S)
    with pytest.raises(PublishToPausedOrderingKeyException):
        publisher.publish(missing, b"y", ordering_key="k").result(WAIT_S)
    publisher.create_topic(name=missing)
    publisher.resume_publish(missing, "k")
    assert publisher.publish(missing, b"z", ordering_key="k").result(WAIT_S)
    streaming.cancel()
    streaming.result(WAIT_S)


def test_exactly_once_acks_are_answered(topic: str, publisher: Any, subscriber: Any) -> None:
    name = _subscribe(subscriber, topic, enable_exactly_once_delivery=True)
    answers: list[Any] = []
    received = Callbacks(lambda message: answers.append(message.ack_with_response()))
    streaming = subscriber.subscribe(name, received)
    publisher.publish(topic, b"x").result(WAIT_S)
    received.wait_for(1)
    assert answers[0].result(WAIT_S) == AcknowledgeStatus.SUCCESS
    streaming.cancel()
    streaming.result(WAIT_S)


def test_exactly_once_ack_of_a_superseded_delivery_is_refused(
    topic: str, publisher: Any, subscriber: Any
) -> None:
    name = _subscribe(subscriber, topic, enable_exactly_once_delivery=True)
    deliveries = itertools.count()
    answers: dict[int, Any] = {}  # callbacks run beside each other

    def act(message: Any) -> None:
        number = next(deliveries)
        if number == 0:  # somebody else gives the message back while we work on it
            subscriber.modify_ack_deadline(
                subscription=name, ack_ids=[message.ack_id], ack_deadline_seconds=0
            )
        answers[number] = message.ack_with_response()

    received = Callbacks(act)
    streaming = subscriber.subscribe(name, received)
    publisher.publish(topic, b"x").result(WAIT_S)
    received.wait_for(2)
    with pytest.raises(AcknowledgeError) as refused:
        answers[0].result(WAIT_S)
    assert refused.value.error_code == AcknowledgeStatus.INVALID_ACK_ID
    assert answers[1].result(WAIT_S) == AcknowledgeStatus.SUCCESS
    streaming.cancel()
    streaming.result(WAIT_S)


def test_publisher_batches(topic: str, subscriber: Any) -> None:
    name = _subscribe(subscriber, topic)
    batching = pubsub_v1.PublisherClient(BatchSettings(max_messages=500, max_latency=0.05))
    futures = [batching.publish(topic, str(n).encode()) for n in range(2000)]
    assert len({future.result(WAIT_S) for future in futures}) == 2000
    received = Callbacks()
    streaming = subscriber.subscribe(name, received)
    assert {int(text) for text in received.wait_for(2000)} == set(range(2000))
    streaming.cancel()
    streaming.result(WAIT_S)
    batching.stop()
    batching.transport.close()


def test_subscribers_share_a_load(topic: str, publisher: Any, subscriber: Any) -> None:
    name = _subscribe(subscriber, topic)
    callbacks = [Callbacks(), Callbacks()]
    flow = FlowControl(max_messages=10)
    streaming = [subscriber.subscribe(name, received, flow_control=flow) for received in callbacks]
    for received in callbacks:  # each is there when it has received
        while not received.messages:
            publisher.publish(topic, b"warm-up").result(WAIT_S)
    for future in [publisher.publish(topic, b"x") for _ in range(400)]:
        future.result(WAIT_S)
    done = threading.Event()
    for _ in range(int(WAIT_S * 20)):
        if sum(message.data == b"x" for each in callbacks for message in list(each.messages)) == 400:
            break
        done.wait(0.05)
    counts = [sum(message.data == b"x" for message in each.messages) for each in callbacks]
    assert sum(counts) == 400
    assert min(counts) > 20
    for each in streaming:
        each.cancel()
        each.result(WAIT_S)


def test_deleted_subscription_ends_the_stream(topic: str, subscriber: Any) -> None:
    name = _subscribe(subscriber, topic)
    streaming = subscriber.subscribe(name, lambda message: message.ack())
    subscriber.delete_subscription(subscription=name)
    with pytest.raises(GoogleAPICallError) as ended:
        streaming.result(WAIT_S)
    assert isinstance(ended.value, NotFound)
