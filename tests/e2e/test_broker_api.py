"""The broker as Google's own Python client sees it. Time is moved, never waited for."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
)
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import BatchSettings, FlowControl
from google.pubsub_v1 import PublisherClient as Requests
from google.pubsub_v1.types import PubsubMessage, StreamingPullRequest
from grpc_health.v1 import health_pb2

from longcall.broker import BrokerConfig
from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock

# It is what a test wants: look, and do not wait.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")

TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/inbox"
DAY_S = 86400
HOUR = {"seconds": 3600}
DAY = {"seconds": DAY_S}
WAIT_S = 30.0


@dataclass
class Google:
    """Both clients of one broker, with a topic."""

    publisher: PublisherClient
    subscriber: SubscriberClient
    clock: VirtualClock
    address: str

    def create_inbox(self, name: str = INBOX, **fields: Any) -> None:
        self.subscriber.create_subscription(request={"name": name, "topic": TOPIC, **fields})

    def publish(self, *messages: PubsubMessage) -> list[str]:
        """Publish all of them in one request, past the client's own batching."""
        return list(Requests.publish(self.publisher, topic=TOPIC, messages=list(messages)).message_ids)

    def pull(self, name: str = INBOX, count: int = 1000) -> list[Any]:
        """Return what is ready now."""
        answer = self.subscriber.pull(
            request={"subscription": name, "max_messages": count, "return_immediately": True}
        )
        return list(answer.received_messages)

    def texts(self, name: str = INBOX) -> list[str]:
        return [received.message.data.decode() for received in self.pull(name)]


def message(text: str = "x", **attributes: str) -> PubsubMessage:
    return PubsubMessage(data=text.encode(), attributes=attributes)


@contextmanager
def google_clients(address: str, clock: VirtualClock) -> Iterator[Google]:
    os.environ["PUBSUB_EMULATOR_HOST"] = address  # as users do it
    try:
        publisher = PublisherClient(batch_settings=BatchSettings(max_messages=1))
        subscriber = SubscriberClient()
    finally:
        del os.environ["PUBSUB_EMULATOR_HOST"]
    with subscriber:
        try:
            yield Google(publisher, subscriber, clock, address)
        finally:
            publisher.stop()
            publisher.transport.close()


@pytest.fixture
def google() -> Iterator[Google]:
    clock = VirtualClock()
    with running_broker(clock=clock) as address, google_clients(address, clock) as clients:
        clients.publisher.create_topic(name=TOPIC)
        yield clients


class Stream:
    """A streaming pull that the test reads and writes by hand."""

    def __init__(self, google: Google, **first: Any) -> None:
        self._requests: Queue[StreamingPullRequest | None] = Queue()
        opening = StreamingPullRequest(subscription=INBOX, stream_ack_deadline_seconds=10, **first)
        self._requests.put(opening)
        self._call = google.subscriber.streaming_pull(requests=iter(self._requests.get, None))

    def send(self, **fields: Any) -> None:
        self._requests.put(StreamingPullRequest(**fields))

    def next(self) -> list[Any]:
        return list(next(self._call).received_messages)

    def collect(self, count: int) -> list[Any]:
        received: list[Any] = []
        while len(received) < count:
            received += self.next()
        return received

    def close(self) -> None:
        self._requests.put(None)
        self._call.cancel()


@contextmanager
def stream(google: Google, **first: Any) -> Iterator[Stream]:
    opened = Stream(google, **first)
    try:
        yield opened
    finally:
        opened.close()


def test_callback_receives_what_its_filter_matches(google: Google) -> None:
    google.create_inbox(filter='attributes.correlid = "mine"')
    got: Queue[Any] = Queue()

    def callback(received: Any) -> None:
        received.ack()
        got.put(received)

    pulling = google.subscriber.subscribe(INBOX, callback, flow_control=FlowControl(max_messages=5))
    for n in range(20):
        google.publisher.publish(TOPIC, b"other", correlid=f"other-{n}")
        google.publisher.publish(TOPIC, str(n).encode(), correlid="mine")
    texts = {got.get(timeout=WAIT_S).data.decode() for _ in range(20)}
    pulling.cancel()
    pulling.result()
    assert texts == {str(n) for n in range(20)}
    google.clock.advance(3600)
    assert google.pull() == []  # every ack has arrived, and the rest never was in it


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", ["none", "one", "two"]),
        ("attributes:a", ["one", "two"]),
        ('attributes.a = "1"', ["one"]),
        ('attributes.a != "1"', ["none", "two"]),
        ('hasPrefix(attributes.a, "2.")', ["two"]),
        ('attributes:a AND NOT attributes.a = "1"', ["two"]),
        ('attributes.a = "1" OR hasPrefix(attributes.a, "2")', ["one", "two"]),
    ],
)
def test_filter_decides_what_a_subscription_receives(
    google: Google, wanted: str, expected: list[str]
) -> None:
    google.create_inbox(filter=wanted)
    google.publish(message("none"), message("one", a="1"), message("two", a="2.x"))
    assert google.texts() == expected


def test_bad_filter_is_refused_with_its_place(google: Google) -> None:
    with pytest.raises(InvalidArgument, match=r"character 31.*do not mix"):
        google.create_inbox(filter="attributes:a AND attributes:b OR attributes:c")
    with pytest.raises(InvalidArgument, match="256"):
        google.create_inbox(filter=f'attributes.a = "{"x" * 256}"')
    google.create_inbox()
    with pytest.raises(InvalidArgument, match="'filter' field in the Subscription is not mutable"):
        google.subscriber.update_subscription(
            subscription={"name": INBOX, "filter": "attributes:a"}, update_mask={"paths": ["filter"]}
        )


def test_message_published_before_a_subscription_is_not_in_it(google: Google) -> None:
    google.publish(message("before"))
    google.create_inbox()
    google.publish(message("after"))
    assert google.texts() == ["after"]


def test_message_carries_id_time_and_attributes(google: Google) -> None:
    google.create_inbox()
    (message_id,) = google.publish(message("x", correlid="c", other="é"))
    (received,) = google.pull()
    assert received.message.message_id == message_id
    assert received.message.publish_time == google.clock.now()
    assert dict(received.message.attributes) == {"correlid": "c", "other": "é"}
    assert received.delivery_attempt == 0


def test_unacknowledged_message_is_redelivered_after_its_deadline_and_acked_one_is_not(
    google: Google,
) -> None:
    google.create_inbox(ack_deadline_seconds=20)
    google.publish(message("kept"), message("done"))
    first = google.pull()
    google.subscriber.acknowledge(subscription=INBOX, ack_ids=[first[1].ack_id])
    google.clock.advance(19.9)
    assert google.pull() == []
    google.clock.advance(0.2)
    (again,) = google.pull()
    assert again.message.message_id == first[0].message.message_id
    assert again.ack_id != first[0].ack_id
    # The ack of the older delivery still counts.
    google.subscriber.acknowledge(subscription=INBOX, ack_ids=[first[0].ack_id])
    google.clock.advance(60)
    assert google.pull() == []


def test_lease_is_extended_and_given_back(google: Google) -> None:
    google.create_inbox()
    google.publish(message("x"))
    (lease,) = google.pull()
    google.subscriber.modify_ack_deadline(
        subscription=INBOX, ack_ids=[lease.ack_id], ack_deadline_seconds=600
    )
    google.clock.advance(599)
    assert google.pull() == []
    google.subscriber.modify_ack_deadline(subscription=INBOX, ack_ids=[lease.ack_id], ack_deadline_seconds=0)
    assert google.texts() == ["x"]


def test_retry_policy_lets_a_nacked_message_rest(google: Google) -> None:
    google.create_inbox(retry_policy={"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 15}})
    google.publish(message("x"))
    for rest_s in (10, 15, 15):
        (lease,) = google.pull()
        google.subscriber.modify_ack_deadline(
            subscription=INBOX, ack_ids=[lease.ack_id], ack_deadline_seconds=0
        )
        google.clock.advance(rest_s - 1)
        assert google.pull() == []
        google.clock.advance(1)
    assert google.texts() == ["x"]


def test_stream_receives_again_what_it_did_not_acknowledge(google: Google) -> None:
    google.create_inbox()
    with stream(google) as pulling:
        google.publish(message("x"))
        (first,) = pulling.collect(1)
        google.clock.advance(10)
        (again,) = pulling.collect(1)
        assert first.message.message_id == again.message.message_id
        pulling.send(ack_ids=[again.ack_id])
        google.publish(message("y"))
        assert pulling.collect(1)[0].message.data == b"y"


def test_stream_holds_no_more_than_it_asked_for(google: Google) -> None:
    google.create_inbox()
    google.publish(*(message(str(n)) for n in range(10)))
    with stream(google, max_outstanding_messages=3) as pulling:
        held = pulling.collect(3)
        assert [received.message.data for received in held] == [b"0", b"1", b"2"]
        google.subscriber.acknowledge(subscription=INBOX, ack_ids=[held[0].ack_id])
        assert [received.message.data for received in pulling.next()] == [b"3"]
        pulling.send(modify_deadline_ack_ids=[held[1].ack_id], modify_deadline_seconds=[0])
        assert [received.message.data for received in pulling.next()] == [b"4"]


def test_stream_holds_no_more_bytes_than_it_asked_for(google: Google) -> None:
    google.create_inbox()
    google.publish(*(message("x" * 1000) for _ in range(4)))
    with stream(google, max_outstanding_bytes=1500) as pulling:
        held = pulling.collect(2)
        assert len(held) == 2
        google.subscriber.acknowledge(subscription=INBOX, ack_ids=[r.ack_id for r in held])
        assert len(pulling.collect(2)) == 2


def test_full_stream_leaves_the_next_message_to_another(google: Google) -> None:
    google.create_inbox()
    google.publish(message("first"))
    with stream(google, max_outstanding_messages=1) as full:
        full.collect(1)
        with stream(google) as other:
            google.publish(message("second"))
            assert other.collect(1)[0].message.data == b"second"


def test_two_streams_of_a_subscription_both_receive(google: Google) -> None:
    google.create_inbox()
    got: Queue[int] = Queue()

    def read(number: int, pulling: Stream) -> None:
        with suppress(Cancelled):
            while True:
                for _ in pulling.next():
                    got.put(number)

    with stream(google) as one, stream(google) as two:
        readers = [threading.Thread(target=read, args=pair) for pair in enumerate((one, two))]
        for reader in readers:
            reader.start()
        seen: set[int] = set()
        while seen != {0, 1}:  # the second may not be open yet when the first message comes
            google.publish(message("x"))
            seen.add(got.get(timeout=WAIT_S))
    for reader in readers:
        reader.join()


def test_backlog_larger_than_a_response_arrives_in_several(google: Google) -> None:
    google.create_inbox()
    for n in range(9):
        google.publish(message("x" * 1_000_000, n=str(n)))
    got: Queue[str] = Queue()

    def callback(received: Any) -> None:
        received.ack()
        got.put(received.attributes["n"])

    # Its connection takes 4 MiB a response.
    pulling = google.subscriber.subscribe(INBOX, callback)
    assert {got.get(timeout=WAIT_S) for _ in range(9)} == {str(n) for n in range(9)}
    pulling.cancel()
    pulling.result()


def test_deleting_a_subscription_ends_its_streams(google: Google) -> None:
    google.create_inbox()
    pulling = google.subscriber.subscribe(INBOX, lambda received: received.ack())
    google.publish(message("x"))
    google.subscriber.delete_subscription(subscription=INBOX)
    with pytest.raises(NotFound, match="inbox"):
        pulling.result(timeout=WAIT_S)
    with pytest.raises(NotFound):
        google.pull()
    google.create_inbox()
    assert google.pull() == []


@pytest.mark.parametrize(
    "first",
    [{"modify_deadline_ack_ids": ["x"], "modify_deadline_seconds": []}, {"ack_ids": ["garbage"]}],
)
def test_stream_that_asks_for_nonsense_is_ended(google: Google, first: dict[str, Any]) -> None:
    google.create_inbox()
    with stream(google, **first) as pulling, pytest.raises(InvalidArgument):
        pulling.next()


def test_stream_cannot_change_its_limits(google: Google) -> None:
    google.create_inbox()
    with stream(google) as pulling:
        pulling.send(max_outstanding_messages=1)
        with pytest.raises(InvalidArgument, match="first request"):
            pulling.next()


def test_waiting_pull_returns_when_a_message_comes(google: Google) -> None:
    google.create_inbox()
    answers: Queue[Any] = Queue()
    request = {"subscription": INBOX, "max_messages": 5}
    waiting = threading.Thread(
        target=lambda: answers.put(google.subscriber.pull(request=request, timeout=WAIT_S))
    )
    waiting.start()
    google.publish(message("x"))
    assert [r.message.data for r in answers.get(timeout=WAIT_S).received_messages] == [b"x"]
    waiting.join()


def test_pull_and_acknowledge_refuse_what_they_cannot_do(google: Google) -> None:
    google.create_inbox()
    google.create_inbox("projects/p/subscriptions/another")
    google.publish(message("x"))
    (foreign,) = google.pull("projects/p/subscriptions/another")
    with pytest.raises(InvalidArgument, match="argument=max_messages"):
        google.pull(count=0)
    with pytest.raises(InvalidArgument, match="You have not specified an ack ID"):
        google.subscriber.acknowledge(subscription=INBOX, ack_ids=[])
    for wrong in ("garbage", foreign.ack_id):
        with pytest.raises(InvalidArgument, match="You have passed an invalid ack ID"):
            google.subscriber.acknowledge(subscription=INBOX, ack_ids=[wrong])
    with pytest.raises(InvalidArgument, match="between 0 and 600"):
        google.subscriber.modify_ack_deadline(subscription=INBOX, ack_ids=["x"], ack_deadline_seconds=601)


def test_unused_subscription_expires_and_an_open_stream_is_use(google: Google) -> None:
    google.create_inbox(expiration_policy={"ttl": DAY}, message_retention_duration=DAY)
    with stream(google) as pulling:
        google.publish(message("x"))
        pulling.collect(1)
        google.clock.advance(3 * DAY_S)
        assert google.subscriber.get_subscription(subscription=INBOX).expiration_policy.ttl.days == 1
    google.clock.advance(DAY_S - 1)
    google.pull()  # is use, too
    google.clock.advance(DAY_S - 1)
    assert len(list(google.subscriber.list_subscriptions(project="projects/p"))) == 1
    google.clock.advance(DAY_S)
    with pytest.raises(NotFound):
        google.pull()
    google.create_inbox()


def test_expiration_shorter_than_the_retention_is_refused_as_google_does(google: Google) -> None:
    with pytest.raises(InvalidArgument, match=r"retention duration \(604800 seconds\) cannot be greater"):
        google.create_inbox(expiration_policy={"ttl": DAY})


def test_message_is_dropped_when_its_retention_ends(google: Google) -> None:
    google.create_inbox(message_retention_duration=HOUR)
    google.publish(message("old"))
    google.clock.advance(1800)
    google.publish(message("new"))
    google.clock.advance(1801)
    assert google.texts() == ["new"]


def test_deleted_topic_leaves_its_subscriptions_their_backlog(google: Google) -> None:
    google.create_inbox()
    google.publish(message("x"))
    google.publisher.delete_topic(topic=TOPIC)
    with pytest.raises(NotFound):
        google.publish(message("y"))
    google.publisher.create_topic(name=TOPIC)
    google.publish(message("z"))
    assert google.subscriber.get_subscription(subscription=INBOX).topic == "_deleted-topic_"
    assert google.texts() == ["x"]


def test_resources_are_listed_read_and_updated(google: Google) -> None:
    names = [f"projects/p/subscriptions/sub-{n:02}" for n in range(12)]
    for name in reversed(names):
        google.create_inbox(name, labels={"source": "longcall"})
    pages = google.subscriber.list_subscriptions(request={"project": "projects/p", "page_size": 5})
    assert [subscription.name for subscription in pages] == names
    assert list(google.publisher.list_topic_subscriptions(request={"topic": TOPIC, "page_size": 7})) == names
    assert [topic.name for topic in google.publisher.list_topics(project="projects/p")] == [TOPIC]
    google.publisher.update_topic(
        topic={"name": TOPIC, "message_retention_duration": DAY, "labels": {"a": "b"}},
        update_mask={"paths": ["message_retention_duration", "labels"]},
    )
    changed = google.subscriber.update_subscription(
        subscription={"name": names[0], "ack_deadline_seconds": 60, "labels": {}},
        update_mask={"paths": ["ack_deadline_seconds", "labels"]},
    )
    assert (changed.ack_deadline_seconds, dict(changed.labels)) == (60, {})
    assert changed.topic_message_retention_duration.days == 1
    assert dict(google.publisher.get_topic(topic=TOPIC).labels) == {"a": "b"}


def test_what_exists_or_does_not_exist_is_said(google: Google) -> None:
    google.create_inbox()
    with pytest.raises(AlreadyExists, match="inbox"):
        google.create_inbox()
    with pytest.raises(AlreadyExists, match="completions"):
        google.publisher.create_topic(name=TOPIC)
    with pytest.raises(NotFound, match="absent"):
        google.subscriber.create_subscription(name=INBOX + "-2", topic="projects/p/topics/absent")
    with pytest.raises(NotFound):
        google.publisher.delete_topic(topic="projects/p/topics/absent")
    with pytest.raises(NotFound):
        google.subscriber.delete_subscription(subscription=INBOX + "-2")


def test_oversize_publish_is_refused_with_its_reason(google: Google) -> None:
    for size, says in ((10_000_001, "maximum value is 10000000."), (12_000_000, "limit: 10485760 bytes.")):
        with pytest.raises(InvalidArgument, match=re.escape(says)):
            google.publish(message("x" * size))


def test_what_the_broker_does_not_have_is_said(google: Google) -> None:
    with grpc.insecure_channel(google.address) as channel:
        call = channel.unary_unary("/google.pubsub.v1.Subscriber/Telepathy")
        with pytest.raises(grpc.RpcError, match=r"Subscriber\.Telepathy is not available in this broker"):
            call(b"")


def test_health_is_served(google: Google) -> None:
    with grpc.insecure_channel(google.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            check(health_pb2.HealthCheckRequest(service="nothing"))


def test_stopping_broker_ends_streams_as_unavailable() -> None:
    clock = VirtualClock()
    with ExitStack() as clients, ExitStack() as broker:
        address = broker.enter_context(running_broker(clock=clock))
        google = clients.enter_context(google_clients(address, clock))
        google.publisher.create_topic(name=TOPIC)
        google.create_inbox()
        google.publish(message("x"))
        pulling = clients.enter_context(stream(google))
        pulling.collect(1)
        broker.close()
        with pytest.raises(ServiceUnavailable, match="stopping"):
            pulling.next()


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()
    config = BrokerConfig(data_dir=tmp_path)
    with running_broker(config, clock=clock) as address, google_clients(address, clock) as google:
        google.publisher.create_topic(request={"name": TOPIC, "labels": {"a": "b"}})
        google.create_inbox(filter='attributes.a = "1"', labels={"c": "d"}, ack_deadline_seconds=99)
        google.publish(message("acked", a="1"), message("leased", a="1"), message("not mine"))
        google.publish(message("waiting", a="1"))
        acked, leased = google.pull(count=2)
        google.subscriber.acknowledge(subscription=INBOX, ack_ids=[acked.ack_id])
        before = google.subscriber.get_subscription(subscription=INBOX)
    with running_broker(config, clock=clock) as address, google_clients(address, clock) as google:
        assert google.subscriber.get_subscription(subscription=INBOX) == before
        assert dict(google.publisher.get_topic(topic=TOPIC).labels) == {"a": "b"}
        # A consumer that outlived the broker may acknowledge what the former one gave it.
        google.subscriber.acknowledge(subscription=INBOX, ack_ids=[leased.ack_id])
        assert google.texts() == ["waiting"]
        google.publish(message("new", a="1"))
        assert google.texts() == ["new"]
