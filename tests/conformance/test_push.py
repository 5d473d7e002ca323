"""Push."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.pubsub_v1 import types as T
from tests.conformance.pubsub import WAIT_S, PubSub, refused
from tests.e2e.push_endpoints import Endpoint, Gate, running_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def _pushing(pubsub: PubSub, endpoint: Endpoint, *, config: Any = None, **fields: Any) -> tuple[str, str]:
    topic = pubsub.topic()
    wanted = T.PushConfig({"push_endpoint": endpoint.url} | (config or {}))
    return topic, pubsub.subscribe(topic, push_config=wanted, **fields)


def _come(pubsub: PubSub, endpoint: Endpoint, *texts: str) -> None:
    """Wait until exactly these have come, however long it takes on the server's clock."""

    def have_come() -> bool:
        pubsub.advance(1)
        return len(endpoint.texts) >= len(texts)

    endpoint.wait_for(have_come)
    assert endpoint.texts == list(texts)


def test_wrapped(pubsub: PubSub, endpoint: Endpoint) -> None:
    """A message comes as JSON, with its id and time in both spellings and the name of the subscription"""
    topic, name = _pushing(pubsub, endpoint)
    (message_id,) = pubsub.publish(topic, "hi", k="v")
    endpoint.wait_for_count(1)
    (pushed,) = endpoint.requests
    message = pushed.event["message"]
    assert pushed.headers["Content-Type"] == "application/json"
    assert pushed.event["subscription"] == name
    assert (message["data"], message["attributes"]) == ("aGk=", {"k": "v"})
    assert message["messageId"] == message["message_id"] == message_id
    assert message["publishTime"] == message["publish_time"]


@pytest.mark.emulator_deviates("does not say")
def test_delivery_attempt(pubsub: PubSub, endpoint: Endpoint) -> None:
    """With a dead-letter policy, the endpoint is told which delivery it is"""
    letters = T.DeadLetterPolicy(dead_letter_topic=pubsub.topic())
    topic, _ = _pushing(pubsub, endpoint, dead_letter_policy=letters)
    pubsub.publish(topic, "x")
    endpoint.wait_for_count(1)
    assert endpoint.requests[0].event.get("deliveryAttempt") == 1


@pytest.mark.emulator_deviates("leaves it out unless the subscription is ordered")
def test_ordering_key(pubsub: PubSub, endpoint: Endpoint) -> None:
    """The endpoint is told the ordering key"""
    topic, _ = _pushing(pubsub, endpoint)
    pubsub.publish(topic, "x", ordering_key="k")
    endpoint.wait_for_count(1)
    assert endpoint.requests[0].event["message"].get("orderingKey") == "k"


def test_unwrapped(pubsub: PubSub, endpoint: Endpoint) -> None:
    """Without wrapper the data are the body, and nothing of the message is in the headers"""
    topic, _ = _pushing(pubsub, endpoint, config={"no_wrapper": {"write_metadata": False}})
    pubsub.publish(topic, "hi", k="v")
    endpoint.wait_for_count(1)
    (pushed,) = endpoint.requests
    assert pushed.body == b"hi"
    assert not [header for header in pushed.headers if header == "k" or header.startswith("x-goog")]


def test_metadata(pubsub: PubSub, endpoint: Endpoint) -> None:
    """With metadata written, attributes are headers, and so are id, time and subscription"""
    topic, name = _pushing(pubsub, endpoint, config={"no_wrapper": {"write_metadata": True}})
    (message_id,) = pubsub.publish(topic, "hi", **{"Content-Type": "text/x", "k": "v"})
    endpoint.wait_for_count(1)
    headers = endpoint.requests[0].headers
    assert (headers["Content-Type"], headers["k"]) == ("text/x", "v")
    assert headers["x-goog-pubsub-message-id"] == message_id
    assert headers["x-goog-pubsub-subscription-name"] == name
    assert "x-goog-pubsub-publish-time" in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success(pubsub: PubSub, endpoint: Endpoint, status: int) -> None:
    """Status 200, 201, 202 and 204 acknowledge"""
    if pubsub.name == "google" and status == 202:
        pytest.xfail("202 does not")
    endpoint.answer = lambda _: status
    topic, _ = _pushing(pubsub, endpoint, enable_message_ordering=True)
    pubsub.publish(topic, "first", "second", ordering_key="k")
    endpoint.wait_for_count(2)
    assert endpoint.texts == ["first", "second"]


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
def test_failure(pubsub: PubSub, endpoint: Endpoint, status: int) -> None:
    """Any other status brings the message again; a redirect is not followed"""
    answers = iter([status])
    endpoint.answer = lambda _: next(answers, 204)
    topic, _ = _pushing(pubsub, endpoint)
    pubsub.publish(topic, "x")
    endpoint.wait_for_answers(1)
    _come(pubsub, endpoint, "x", "x")


def test_order(pubsub: PubSub, endpoint: Endpoint) -> None:
    """Of one ordering key the next message comes when the one before is acknowledged; other keys go on"""
    topic, _ = _pushing(pubsub, endpoint, enable_message_ordering=True)
    closed = endpoint.answer = Gate()
    try:
        pubsub.publish(topic, "a1", "a2", "a3", ordering_key="a")
        pubsub.publish(topic, "b1", ordering_key="b")
        endpoint.wait_for_texts("a1", "b1")
    finally:
        closed.open()
    endpoint.wait_for_count(4)
    assert [text for text in endpoint.texts if text[0] == "a"] == ["a1", "a2", "a3"]


def test_to_push_and_back(pubsub: PubSub, endpoint: Endpoint) -> None:
    """A pull subscription becomes a push subscription by ModifyPushConfig, and an empty one turns it back"""
    topic, name = pubsub.pair()
    pubsub.publish(topic, "waiting")
    request = T.ModifyPushConfigRequest(subscription=name, push_config={"push_endpoint": endpoint.url})
    pubsub.subscriber.modify_push_config(request, timeout=WAIT_S)
    endpoint.wait_for_texts("waiting")
    request = T.ModifyPushConfigRequest(subscription=name, push_config={})
    pubsub.subscriber.modify_push_config(request, timeout=WAIT_S)
    pubsub.publish(topic, "pulled")
    assert "pulled" in pubsub.texts(name, 1)
    assert endpoint.texts == ["waiting"]


def test_update(pubsub: PubSub, endpoint: Endpoint) -> None:
    """UpdateSubscription with the mask `push_config` does the same"""
    topic, name = pubsub.pair()
    pubsub.update_subscription(name, "push_config", push_config=T.PushConfig(push_endpoint=endpoint.url))
    assert pubsub.get_subscription(name).push_config.push_endpoint == endpoint.url
    pubsub.publish(topic, "x")
    endpoint.wait_for_texts("x")


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://"])
def test_endpoint(pubsub: PubSub, url: str) -> None:
    """An endpoint that is no http or https URL is refused"""
    if pubsub.name == "google" and url == "http://":
        pytest.xfail("`http://` is accepted")
    with refused("INVALID_ARGUMENT"):
        pubsub.pair(push_config=T.PushConfig(push_endpoint=url))


@pytest.mark.emulator_deviates("is accepted")
@pytest.mark.parametrize("attributes", [{"other": "v1"}, {"x-goog-version": "v9"}])
def test_attributes(pubsub: PubSub, endpoint: Endpoint, attributes: dict[str, str]) -> None:
    """An unknown push attribute or version is refused"""
    with refused("INVALID_ARGUMENT"):
        _pushing(pubsub, endpoint, config={"attributes": attributes})


@pytest.mark.emulator_deviates("is left out")
def test_version(pubsub: PubSub, endpoint: Endpoint) -> None:
    """The version of the format is always shown"""
    _, name = _pushing(pubsub, endpoint)
    assert dict(pubsub.get_subscription(name).push_config.attributes) == {"x-goog-version": "v1"}
