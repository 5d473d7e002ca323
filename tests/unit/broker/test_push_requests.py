"""Push configurations as they are accepted and shown, and what an endpoint is sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.broker.errors import InvalidArgument
from longcall.broker.push.request import PushRequest, push_request
from longcall.broker.rules.subscriptions import checked_subscription, updated_subscription
from longcall.broker.wire import Wire

NAME = "projects/p/subscriptions/sub"
ENDPOINT = "http://127.0.0.1:8080/push?token=x"


def _created(**fields: Any) -> Any:
    wanted = Wire.Subscription(name=NAME, topic="projects/p/topics/top", **fields)
    return checked_subscription(wanted, name_if_none="none")


def _pushing(**config: Any) -> Any:
    return _created(push_config={"push_endpoint": ENDPOINT, **config})


def _message(**fields: Any) -> Any:
    message = Wire.PubsubMessage(message_id="17", **({"data": b"hi"} | fields))
    message.publish_time.FromJsonString("2026-01-02T03:04:05.678Z")
    return message


def _headers(request: PushRequest) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in request.headers}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:8080/push",
        "https://example.com",
        "http://[::1]:1/x?token=y",
        "HTTP://u:p@h.example/x",
        "http://h/" + "x" * 2000,
    ],
)
def test_http_url_is_an_endpoint(endpoint: str) -> None:
    assert _created(push_config={"push_endpoint": endpoint}).push_config.push_endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "nonsense",
        "ftp://h/x",
        "http://",
        "http:///x",
        "http://h:x/",
        "http://h:99999/",
        "http://h:0/",
        "http://[::1/",
        "http://h/a b",
        "http://h/\r\nX: y",
        "http://hä/",
        "http://h/" + "x" * 2100,
        "//h/x",
    ],
)
def test_anything_else_is_not(endpoint: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid push endpoint given"):
        _created(push_config={"push_endpoint": endpoint})


def test_version_is_always_shown() -> None:
    assert dict(_pushing().push_config.attributes) == {"x-goog-version": "v1"}
    older = _pushing(attributes={"x-goog-version": "v1beta1"})
    assert dict(older.push_config.attributes) == {"x-goog-version": "v1beta1"}


def test_update_that_says_no_version_keeps_the_one_before() -> None:
    older = _pushing(attributes={"x-goog-version": "v1beta2"})
    update = Wire.Subscription(push_config={"push_endpoint": "http://h/2"})
    changed = updated_subscription(older, update, ["push_config"])
    assert changed.push_config.push_endpoint == "http://h/2"
    assert changed.push_config.attributes["x-goog-version"] == "v1beta2"


def test_configuration_without_an_endpoint_is_empty() -> None:
    created = _created(push_config={"attributes": {"x-goog-version": "v1"}})
    assert created.HasField("push_config")
    assert not created.push_config.ByteSize()
    changed = updated_subscription(_pushing(), Wire.Subscription(), ["push_config"])
    assert changed.HasField("push_config")
    assert not changed.push_config.ByteSize()


def test_token_and_wrapper_are_echoed() -> None:
    token = {"service_account_email": "a@b.example", "audience": "me"}
    config = _pushing(oidc_token=token, no_wrapper={"write_metadata": True}).push_config
    assert (config.oidc_token.service_account_email, config.oidc_token.audience) == ("a@b.example", "me")
    assert config.no_wrapper.write_metadata


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"push_config": {"push_endpoint": ENDPOINT, "attributes": {"x": "v1"}}}, "attribute=x"),
        ({"push_config": {"push_endpoint": ENDPOINT, "attributes": {"x-goog-version": "v2"}}}, "value=v2"),
        ({"push_config": {"push_endpoint": ENDPOINT}, "enable_exactly_once_delivery": True}, "xactly-once"),
    ],
)
def test_what_cannot_be_pushed_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        _created(**fields)


def test_exactly_once_cannot_come_later_either() -> None:
    update = Wire.Subscription(enable_exactly_once_delivery=True)
    with pytest.raises(InvalidArgument, match="xactly-once"):
        updated_subscription(_pushing(), update, ["enable_exactly_once_delivery"])


def test_smallest_message_has_both_spellings() -> None:
    request = push_request(_pushing(), _message(), attempt=None)
    assert _headers(request) == {"Content-Type": "application/json"}
    assert json.loads(request.body) == {
        "message": {
            "data": "aGk=",
            "messageId": "17",
            "message_id": "17",
            "publishTime": "2026-01-02T03:04:05.678Z",
            "publish_time": "2026-01-02T03:04:05.678Z",
        },
        "subscription": NAME,
    }


def test_largest_message_has_attributes_key_and_attempt() -> None:
    message = _message(data=b"", attributes={"k": "ä"}, ordering_key="o")
    body = json.loads(push_request(_pushing(pubsub_wrapper={}), message, attempt=3).body)
    assert body["deliveryAttempt"] == 3
    assert body["message"] | {"data": "", "attributes": {"k": "ä"}, "orderingKey": "o"} == body["message"]


def test_oldest_version_has_labels() -> None:
    config = {"attributes": {"x-goog-version": "v1beta1"}}
    body = json.loads(push_request(_pushing(**config), _message(attributes={"k": "v"}), attempt=None).body)
    assert body == {
        "message": {"data": "aGk=", "label": [{"key": "k", "strValue": "v"}], "messageId": "17"},
        "subscription": NAME,
    }


def test_unwrapped_message_is_its_data() -> None:
    message = _message(data=b"\x00\xff", attributes={"k": "v"}, ordering_key="o")
    assert push_request(_pushing(no_wrapper={}), message, attempt=3) == PushRequest((), b"\x00\xff")


def test_metadata_are_headers() -> None:
    message = _message(attributes={"Content-Type": "text/plain", "k": "ä"}, ordering_key="o")
    request = push_request(_pushing(no_wrapper={"write_metadata": True}), message, attempt=3)
    assert _headers(request) == {
        "Content-Type": "text/plain",
        "k": "ä",
        "x-goog-pubsub-subscription-name": NAME,
        "x-goog-pubsub-message-id": "17",
        "x-goog-pubsub-publish-time": "2026-01-02T03:04:05.678Z",
        "x-goog-pubsub-ordering-key": "o",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("two words", "v"),
        ("k:", "v"),
        ("schlüssel", "v"),
        ("k", "a\r\nX-Evil: b"),
        ("k", "a\x00"),
        ("k", " a"),
        ("Host", "evil"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Authorization", "Bearer x"),
        ("X-Goog-Pubsub-Message-Id", "1"),
    ],
)
def test_attribute_that_can_or_may_not_be_a_header_is_left_out(name: str, value: str) -> None:
    pushing = _pushing(no_wrapper={"write_metadata": True})
    bare = push_request(pushing, _message(), attempt=None)
    assert push_request(pushing, _message(attributes={name: value}), attempt=None) == bare


@given(data=st.binary(), attributes=st.dictionaries(st.text(min_size=1), st.text()), key=st.text())
def test_whatever_is_published_comes_out_of_the_json(
    data: bytes, attributes: dict[str, str], key: str
) -> None:
    message = _message(data=data, attributes=attributes, ordering_key=key)
    sent = json.loads(push_request(_pushing(), message, attempt=None).body)["message"]
    assert base64.b64decode(sent["data"]) == data
    assert sent.get("attributes", {}) == attributes
    assert sent.get("orderingKey", "") == key


@given(attributes=st.dictionaries(st.text(min_size=1), st.text()), key=st.text())
def test_no_attribute_can_break_a_request(attributes: dict[str, str], key: str) -> None:
    message = _message(attributes=attributes, ordering_key=key)
    request = push_request(_pushing(no_wrapper={"write_metadata": True}), message, attempt=None)
    for name, value in request.headers:
        assert not set(name + value) & {0, 10, 13}
        assert b":" not in name
