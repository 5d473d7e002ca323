"""Push subscriptions, with a real HTTP server at the other end. Time is moved, never waited for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from google.api_core.exceptions import FailedPrecondition
from google.pubsub_v1.types import PubsubMessage
from tests.e2e.push_endpoints import WAIT_S, Endpoint, Gate, running_endpoint
from tests.e2e.test_broker_api import INBOX, TOPIC, Google, Stream, google_clients, message

from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock

# It is what a test wants: look, and do not wait.
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")

OTHER_TOPIC = "projects/p/topics/other"
OTHER = "projects/p/subscriptions/other"
PAUSE_S = 0.1


@pytest.fixture
def google() -> Iterator[Google]:
    clock = VirtualClock()
    with running_broker(clock=clock) as address, google_clients(address, clock) as clients:
        clients.publisher.create_topic(name=TOPIC)
        yield clients


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


@contextmanager
def gate(endpoint: Endpoint, status: int = 204) -> Iterator[Gate]:
    """Hold back the answers of an endpoint."""
    closed = Gate(status)
    endpoint.answer = closed
    try:
        yield closed
    finally:
        closed.open()


def push(google: Google, endpoint: Endpoint, name: str = INBOX, **fields: Any) -> None:
    google.subscriber.create_subscription(
        request={"name": name, "topic": TOPIC, "push_config": {"push_endpoint": endpoint.url}} | fields
    )


def modify(google: Google, name: str = INBOX, **config: Any) -> None:
    google.subscriber.modify_push_config(subscription=name, push_config=config)


class Barrier:
    """A push subscription of its own: when its message has arrived, whatever was due has had its turn."""

    def __init__(self, google: Google, endpoint: Endpoint) -> None:
        google.publisher.create_topic(name=OTHER_TOPIC)
        push(google, endpoint, OTHER, topic=OTHER_TOPIC)
        self._google, self._endpoint = google, endpoint

    def wait(self) -> None:
        count = len(self._endpoint.requests) + 1
        self._google.publisher.publish(OTHER_TOPIC, b"barrier").result(WAIT_S)
        self._endpoint.wait_for_count(count)


@pytest.fixture
def barrier(google: Google) -> Iterator[Barrier]:
    with running_endpoint() as running:
        yield Barrier(google, running)


def in_line(*texts: str) -> list[PubsubMessage]:
    """Messages of one ordering key: each is pushed when the one before is acknowledged."""
    return [PubsubMessage(data=text.encode(), ordering_key="k") for text in texts]


def test_message_is_pushed_as_googles_service_does(google: Google, endpoint: Endpoint) -> None:
    push(google, endpoint)
    (message_id,) = google.publish(message("hi", k="v"))
    endpoint.wait_for_texts("hi")
    (pushed,) = endpoint.requests
    assert pushed.path == "/push"
    assert pushed.headers["Content-Type"] == "application/json"
    assert pushed.event == {
        "message": {
            "data": "aGk=",
            "attributes": {"k": "v"},
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": "2026-01-01T00:00:00Z",
            "publish_time": "2026-01-01T00:00:00Z",
        },
        "subscription": INBOX,
    }


def test_unwrapped_message_is_pushed_with_its_metadata(google: Google, endpoint: Endpoint) -> None:
    config = {"push_endpoint": endpoint.url + "?token=x", "no_wrapper": {"write_metadata": True}}
    push(google, endpoint, push_config=config)
    (message_id,) = google.publish(PubsubMessage(data=b"\x00\xff", attributes={"Content-Type": "image/x"}))
    endpoint.wait_for_count(1)
    (pushed,) = endpoint.requests
    assert (pushed.path, pushed.body) == ("/push?token=x", b"\x00\xff")
    assert pushed.headers["Content-Type"] == "image/x"
    assert pushed.headers["x-goog-pubsub-message-id"] == message_id
    assert pushed.headers["x-goog-pubsub-subscription-name"] == INBOX


@pytest.mark.parametrize("status", [102, 200, 201, 202, 204])
def test_success_acknowledges(google: Google, endpoint: Endpoint, status: int) -> None:
    endpoint.answer = lambda _: status
    push(google, endpoint, enable_message_ordering=True)
    google.publish(*in_line("first", "second"))
    endpoint.wait_for_count(2)
    assert endpoint.texts == ["first", "second"]


@pytest.mark.parametrize("status", [203, 205, 301, 307, 400, 404, 429, 500, 503])
def test_anything_else_brings_the_message_back(
    google: Google, endpoint: Endpoint, barrier: Barrier, status: int
) -> None:
    endpoint.answer = lambda _: status
    push(google, endpoint)
    google.publish(message("x"))
    endpoint.wait_for_answers(1)
    barrier.wait()
    endpoint.answer = lambda _: 204
    google.clock.advance(PAUSE_S)
    endpoint.wait_for_texts("x", "x")


def test_redirect_is_not_followed(google: Google, endpoint: Endpoint, barrier: Barrier) -> None:
    with running_endpoint() as elsewhere:
        endpoint.location = elsewhere.url
        endpoint.answer = lambda _: 307
        push(google, endpoint)
        google.publish(message("x"))
        endpoint.wait_for_answers(1)
        barrier.wait()
        google.clock.advance(PAUSE_S)
        endpoint.wait_for_texts("x", "x")
        assert elsewhere.requests == []


def test_pauses_after_failures_double(google: Google, endpoint: Endpoint, barrier: Barrier) -> None:
    endpoint.answer = lambda _: 500
    push(google, endpoint)
    google.publish(message("x"))
    for failures, pause_s in enumerate((0.1, 0.2, 0.4, 0.8), start=1):
        endpoint.wait_for_answers(failures)
        barrier.wait()
        google.clock.advance(pause_s - 0.01)
        barrier.wait()
        assert len(endpoint.requests) == failures
        google.clock.advance(0.02)
    endpoint.wait_for_count(5)


def test_pause_holds_back_the_others_too(google: Google, endpoint: Endpoint, barrier: Barrier) -> None:
    endpoint.answer = lambda _: 500
    push(google, endpoint)
    google.publish(message("first"))
    endpoint.wait_for_answers(1)
    barrier.wait()
    google.publish(message("second"))
    barrier.wait()
    assert endpoint.texts == ["first"]


def test_with_a_retry_policy_only_the_message_waits(
    google: Google, endpoint: Endpoint, barrier: Barrier
) -> None:
    endpoint.answer = lambda pushed: 500 if pushed.text == "bad" else 204
    delays = {"minimum_backoff": {"seconds": 20}, "maximum_backoff": {"seconds": 600}}
    push(google, endpoint, retry_policy=delays)
    google.publish(message("bad"))
    endpoint.wait_for_answers(1)
    barrier.wait()
    google.publish(message("good"))
    endpoint.wait_for_texts("bad", "good")
    google.clock.advance(19)
    barrier.wait()
    assert endpoint.texts == ["bad", "good"]
    google.clock.advance(1)
    endpoint.wait_for_texts("bad", "bad", "good")


def test_ack_deadline_is_the_time_limit(google: Google, endpoint: Endpoint) -> None:
    push(google, endpoint, enable_message_ordering=True)
    with gate(endpoint):
        google.publish(*in_line("slow", "next"))
        endpoint.wait_for_texts("slow")
        google.clock.advance(10)  # ends the first, and pushing pauses
        google.clock.advance(PAUSE_S)
        endpoint.wait_for_texts("slow", "slow")
    endpoint.wait_for(lambda: endpoint.abandoned == 1)
    endpoint.wait_for(lambda: endpoint.texts == ["slow", "slow", "next"])


def test_refused_connection_is_tried_again(google: Google, endpoint: Endpoint, barrier: Barrier) -> None:
    with running_endpoint() as gone:  # beside the other, so that it has another port
        pass
    push(google, gone)
    google.publish(message("x"))
    barrier.wait()
    modify(google, push_endpoint=endpoint.url)  # it is not made to wait for the old one's pause
    endpoint.wait_for_texts("x")


def test_one_of_each_ordering_key_is_under_way(google: Google, endpoint: Endpoint, barrier: Barrier) -> None:
    push(google, endpoint, enable_message_ordering=True)
    with gate(endpoint) as closed:
        for key in ("a", "b"):
            google.publish(*(PubsubMessage(data=f"{key}{i}".encode(), ordering_key=key) for i in (1, 2, 3)))
        endpoint.wait_for_texts("a1", "b1")
        barrier.wait()
        assert sorted(endpoint.texts) == ["a1", "b1"]
        closed.let_through(6)
        endpoint.wait_for_count(6)
    for key in ("a", "b"):
        assert [text for text in endpoint.texts if text[0] == key] == [f"{key}{i}" for i in (1, 2, 3)]


def test_failure_does_not_disturb_the_order(google: Google, endpoint: Endpoint) -> None:
    answers = iter([204, 500])
    endpoint.answer = lambda _: next(answers, 204)
    push(google, endpoint, enable_message_ordering=True)
    google.publish(*in_line("0", "1", "2", "3"))
    endpoint.wait_for_count(2)
    endpoint.wait_for(lambda: bool(google.clock.advance(PAUSE_S)) or len(endpoint.requests) >= 5)
    assert endpoint.texts == ["0", "1", "1", "2", "3"]


def test_few_are_under_way_at_first_and_more_with_success(
    google: Google, endpoint: Endpoint, barrier: Barrier
) -> None:
    push(google, endpoint)
    with gate(endpoint) as closed:
        google.publish(*(message(str(i)) for i in range(100)))
        endpoint.wait_for_count(4)
        barrier.wait()
        assert len(endpoint.requests) == 4
        closed.let_through(4)
        endpoint.wait_for_count(12)  # four done, eight under way
        barrier.wait()
        assert len(endpoint.requests) == 12
    endpoint.wait_for_count(100)
    assert sorted(endpoint.texts, key=int) == [str(i) for i in range(100)]


def test_message_that_fails_too_often_goes_to_the_dead_letters(
    google: Google, endpoint: Endpoint, barrier: Barrier
) -> None:
    dead, graves = "projects/p/topics/dead", "projects/p/subscriptions/graves"
    google.publisher.create_topic(name=dead)
    google.subscriber.create_subscription(request={"name": graves, "topic": dead})
    endpoint.answer = lambda _: 500
    push(google, endpoint, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    google.publish(message("bad"))
    for attempt in range(1, 6):
        endpoint.wait_for_answers(attempt)
        barrier.wait()
        google.clock.advance(1)
    assert google.texts(graves) == ["bad"]
    assert [pushed.event["deliveryAttempt"] for pushed in endpoint.requests] == [1, 2, 3, 4, 5]


def test_push_subscription_cannot_be_pulled(google: Google, endpoint: Endpoint) -> None:
    push(google, endpoint)
    with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
        google.pull()
    with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
        Stream(google).next()


def test_pull_subscription_becomes_push_and_back(google: Google, endpoint: Endpoint) -> None:
    google.create_inbox()
    google.publish(message("kept"))
    modify(google, push_endpoint=endpoint.url)
    endpoint.wait_for_texts("kept")
    shown = google.subscriber.get_subscription(subscription=INBOX).push_config
    assert (shown.push_endpoint, dict(shown.attributes)) == (endpoint.url, {"x-goog-version": "v1"})
    modify(google)
    google.publish(message("pulled"))
    endpoint.wait_for(lambda: google.texts() == ["pulled"])
    assert endpoint.texts == ["kept"]
    assert not google.subscriber.get_subscription(subscription=INBOX).push_config.push_endpoint


def test_update_of_the_field_does_the_same(google: Google, endpoint: Endpoint) -> None:
    google.create_inbox()
    google.subscriber.update_subscription(
        request={
            "subscription": {"name": INBOX, "push_config": {"push_endpoint": endpoint.url}},
            "update_mask": {"paths": ["push_config"]},
        }
    )
    google.publish(message("x"))
    endpoint.wait_for_texts("x")


def test_stream_ends_when_the_subscription_becomes_push(google: Google, endpoint: Endpoint) -> None:
    google.create_inbox()
    stream = Stream(google)
    google.publish(message("streamed"))
    assert [item.message.data for item in stream.collect(1)] == [b"streamed"]
    modify(google, push_endpoint=endpoint.url)
    with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
        stream.next()


def test_pull_that_waits_ends_when_the_subscription_becomes_push(google: Google, endpoint: Endpoint) -> None:
    google.create_inbox()
    with ThreadPoolExecutor(1) as thread:
        pulling = thread.submit(google.subscriber.pull, subscription=INBOX, max_messages=1, timeout=WAIT_S)
        modify(google, push_endpoint=endpoint.url)
        with pytest.raises(FailedPrecondition, match="not supported for this subscription type"):
            pulling.result(WAIT_S)


@pytest.mark.parametrize("how", ["delete", "detach", "seek"])
def test_what_is_under_way_is_abandoned_when_its_message_goes(
    google: Google, endpoint: Endpoint, how: str
) -> None:
    push(google, endpoint)
    with gate(endpoint):
        google.publish(message("x"))
        endpoint.wait_for_texts("x")
        if how == "delete":
            google.subscriber.delete_subscription(subscription=INBOX)
        elif how == "detach":
            google.publisher.detach_subscription(request={"subscription": INBOX})
        else:
            google.clock.advance(1)
            google.subscriber.seek(request={"subscription": INBOX, "time": google.clock.now()})
    endpoint.wait_for(lambda: endpoint.abandoned == 1)
    assert endpoint.texts == ["x"]


def test_pushing_keeps_a_subscription_alive(google: Google, endpoint: Endpoint) -> None:
    day = {"seconds": 86400}
    ordered = {"enable_message_ordering": True}
    push(google, endpoint, expiration_policy={"ttl": day}, message_retention_duration=day, **ordered)

    def has_come(text: str) -> bool:
        google.clock.advance(1)
        return text in endpoint.texts

    for i in range(4):
        google.clock.advance(80_000)
        google.publish(*in_line(f"{i}a", f"{i}b"))
        endpoint.wait_for(partial(has_come, f"{i}b"))  # so the other is acknowledged
    google.subscriber.get_subscription(subscription=INBOX)


def test_several_subscriptions_each_get_theirs(google: Google, endpoint: Endpoint) -> None:
    for i in range(20):
        config = {"push_endpoint": f"{endpoint.url}/{i}"}
        push(google, endpoint, f"{INBOX}-{i}", push_config=config, filter=f'attributes.to = "{i}"')
    google.publish(*(message(str(i), to=str(i)) for i in range(20)))
    endpoint.wait_for_count(20)
    assert {pushed.path: pushed.text for pushed in endpoint.requests} == {
        f"/push/{i}": str(i) for i in range(20)
    }
