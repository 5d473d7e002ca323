"""Names, labels, limits, ack ids and resources: what the broker accepts, fills in and refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.broker.config import BrokerConfig
from longcall.broker.core.ack_ids import AckId, decode_ack_id, encode_ack_id
from longcall.broker.errors import BrokerConfigError, InvalidArgument, Unimplemented
from longcall.broker.rules.messages import check_publish
from longcall.broker.rules.names import check_labels, check_name, check_project
from longcall.broker.rules.paging import page_of
from longcall.broker.rules.subscriptions import checked_subscription, updated_subscription
from longcall.broker.rules.topics import checked_topic, updated_topic
from longcall.broker.wire import Wire

DAY = {"seconds": 86400}
U64, U32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("topic_id", ["abc", "a" * 255, "A-_.~+%9", "Goog"])
def test_good_name_is_accepted(topic_id: str) -> None:
    assert check_name(f"projects/my-project/topics/{topic_id}", "topics")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "projects/p/topics/ab",
        "projects/p/topics/" + "a" * 256,
        "projects/p/topics/1abc",
        "projects/p/topics/goog-abc",
        "projects/p/topics/a b c",
        "projects/p/topics/abc\n",
        "projects/p/subscriptions/abc",
        "projects//topics/abc",
        "projects/p/topics/abc/def",
    ],
)
def test_bad_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Invalid \[topics\] name"):
        check_name(name, "topics")


def test_project_is_read_from_its_path() -> None:
    assert check_project("projects/p-1") == "p-1"
    with pytest.raises(InvalidArgument):
        check_project("p-1")


@pytest.mark.parametrize("labels", [{}, {"a": ""}, {"é_1-": "x-1_9"}, {f"k{n}": "v" for n in range(64)}])
def test_good_labels_are_accepted(labels: dict[str, str]) -> None:
    check_labels(labels)


@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"A": "x"},
        {"1a": "x"},
        {"a": "X"},
        {"a": "x.y"},
        {"a" * 64: ""},
        {"a": "x" * 64},
        {f"k{n}": "v" for n in range(65)},
    ],
)
def test_bad_labels_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="label"):
        check_labels(labels)


@given(U64, U64, U32)
def test_ack_id_says_what_it_was_given(subscription: int, message_id: int, generation: int) -> None:
    ack_id = AckId(subscription, message_id, generation)
    assert decode_ack_id(encode_ack_id(ack_id)) == ack_id


@given(st.text(max_size=60))
def test_made_up_ack_id_is_none_of_ours(text: str) -> None:
    assert decode_ack_id(text) is None


def _message(**fields: Any) -> Any:
    return Wire.PubsubMessage(**fields)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "not specified a message"),
        ([_message()], "data or at least one attribute"),
        ([_message(data=b"x")] * 1001, "You passed 1001 in the request, but the maximum value is 1000."),
        ([_message(data=b"x", ordering_key="a"), _message(data=b"x", ordering_key="b")], "same ordering key"),
        ([_message(data=b"x", ordering_key="é" * 513)], "1024 bytes"),
        ([_message(attributes={f"k{n}": "" for n in range(101)})], "at most 100 attributes"),
        ([_message(attributes={"": "x"})], "empty or begins with goog"),
        ([_message(attributes={"googx": "x"})], "empty or begins with goog"),
        ([_message(attributes={"é" * 129: "x"})], "256 bytes"),
        ([_message(attributes={"a": "é" * 513})], "1024 bytes"),
    ],
)
def test_message_outside_the_limits_is_refused(messages: list[Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(says)):
        check_publish(messages, request_bytes=100)


def test_messages_at_the_limits_are_accepted() -> None:
    full = _message(
        attributes={"k" * 256: "v" * 1024} | {f"k{n}": "" for n in range(99)}, ordering_key="o" * 1024
    )
    check_publish([full] * 1000, request_bytes=10_000_000)
    with pytest.raises(InvalidArgument, match=r"request_size is too large\. You passed 10000001"):
        check_publish([full], request_bytes=10_000_001)


def _wanted(**fields: Any) -> Any:
    defaults = {"name": "projects/p/subscriptions/sub", "topic": "projects/p/topics/top"}
    return Wire.Subscription(**(defaults | fields))


def _checked(**fields: Any) -> Any:
    return checked_subscription(_wanted(**fields), name_if_none="longcall-1")


def test_defaults_of_a_subscription_are_googles() -> None:
    created = _checked()
    assert created.ack_deadline_seconds == 10
    assert created.message_retention_duration.seconds == 604_800
    assert created.expiration_policy.ttl.seconds == 2_678_400
    assert created.HasField("push_config")
    assert created.state == Wire.Subscription.State.Value("ACTIVE")


def test_subscription_without_a_name_is_given_one_in_the_project_of_its_topic() -> None:
    assert _checked(name="").name == "projects/p/subscriptions/longcall-1"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ack_deadline_seconds": 9}, "between 10 and 600"),
        ({"ack_deadline_seconds": 601}, "between 10 and 600"),
        (
            {"expiration_policy": {"ttl": DAY}},
            "The subscription's message retention duration (604800 seconds) cannot be greater than the TTL "
            "in the subscription's expiration policy (86400 seconds), since messages cannot be retained past "
            "subscription expiration.",
        ),
        (
            {"expiration_policy": {"ttl": {"seconds": 86399}}, "message_retention_duration": DAY},
            "You passed 23h59m59s in the request, but the minimum value is 24h.",
        ),
        (
            {"message_retention_duration": {"seconds": 300}},
            "You passed 5m in the request, but the value must be between 10m and 744h.",
        ),
        ({"message_retention_duration": {"seconds": 2_678_401}}, "must be between 10m and 744h."),
        ({"retry_policy": {"minimum_backoff": {"seconds": 601}}}, "between 0 and 600"),
        (
            {"retry_policy": {"minimum_backoff": {"seconds": 9}, "maximum_backoff": {"seconds": 8}}},
            "must not be greater",
        ),
        ({"labels": {"Upper": "x"}}, "Invalid label key"),
        ({"topic": "top"}, "Invalid [topics] name"),
        ({"name": "sub"}, "Invalid [subscriptions] name"),
    ],
)
def test_subscription_outside_the_rules_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(says)):
        _checked(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"cloud_storage_config": {"bucket": "b"}},
        {"bigquery_config": {"table": "p.d.t"}},
    ],
)
def test_what_the_broker_cannot_do_is_refused_not_ignored(fields: dict[str, Any]) -> None:
    with pytest.raises(Unimplemented, match=next(iter(fields))):
        _checked(**fields)


def test_what_a_topic_cannot_do_is_refused_not_ignored() -> None:
    with pytest.raises(Unimplemented, match="message_transforms"):
        checked_topic(Wire.Topic(name="projects/p/topics/top", message_transforms=[{"disabled": True}]))


def test_update_changes_the_masked_fields_only() -> None:
    update = _wanted(ack_deadline_seconds=60, labels={"new": "1"}, filter="ignored")
    changed = updated_subscription(_checked(labels={"old": "1"}), update, ["labels"])
    assert (changed.ack_deadline_seconds, dict(changed.labels)) == (10, {"new": "1"})


def test_update_to_nothing_brings_the_default_back() -> None:
    paths = ["ack_deadline_seconds", "expiration_policy", "message_retention_duration", "retry_policy"]
    current = _checked(ack_deadline_seconds=60, expiration_policy={}, retry_policy={})
    assert updated_subscription(current, _wanted(), paths) == _checked()


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ([], "must not be empty"),
        (["filter"], "the 'filter' field in the Subscription is not mutable."),
        (["labels", "topic"], "the 'topic' field in the Subscription is not mutable."),
        (["enable_message_ordering"], "not mutable"),
        (["nonsense"], "'nonsense' is not a known Subscription field"),
    ],
)
def test_update_of_what_cannot_change_is_refused(paths: list[str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(says)):
        updated_subscription(_checked(), _wanted(), paths)


def test_topic_keeps_labels_and_retention_and_is_active() -> None:
    topic = checked_topic(Wire.Topic(name="projects/p/topics/top", labels={"a": "b"}))
    changed = updated_topic(topic, Wire.Topic(message_retention_duration=DAY), ["message_retention_duration"])
    assert (dict(changed.labels), changed.message_retention_duration.seconds) == ({"a": "b"}, 86400)
    with pytest.raises(InvalidArgument, match="out of bounds"):
        updated_topic(
            topic, Wire.Topic(message_retention_duration={"seconds": 1}), ["message_retention_duration"]
        )


def test_pages_cover_a_list_once() -> None:
    names, seen, token = [f"n{n:03}" for n in range(25)], [], ""
    while True:
        page, token = page_of(names, Wire.ListTopicsRequest(page_size=10, page_token=token), name=str)
        seen += page
        if not token:
            break
    assert seen == names


@pytest.mark.parametrize("token", ["garbage", "bm9uZQ==", "é"])
def test_page_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        page_of(["a"], Wire.ListTopicsRequest(page_size=1, page_token=token), name=str)


def test_config_refuses_what_no_server_can_be_started_with() -> None:
    for wrong in ({"port": 70000}, {"power_safe": True}, {"sweep_interval_s": 0}):
        with pytest.raises(BrokerConfigError, match=next(iter(wrong))):
            BrokerConfig(**wrong)
