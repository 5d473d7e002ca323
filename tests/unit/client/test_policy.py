"""Where answers arrive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longcall.client import InboxPolicy, PerCallInbox, PerCallTopicInbox, SharedInbox, delete_address
from longcall.client.policy import policy_from_env
from longcall.contract import ContractError
from longcall.transport import TransportRefused
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/reports"
DAY_S = 86400.0
POLICIES = [
    PerCallInbox(topic=TOPIC),
    SharedInbox(topic=TOPIC, name="reports"),
    PerCallTopicInbox(project="p"),
]


def test_each_call_has_an_inbox_that_is_called_as_its_id() -> None:
    policy = PerCallInbox(topic=TOPIC, labels={"dag": "d", "source": "other"})
    one, two = policy.new_call(), policy.new_call()

    assert one.correlation_id != two.correlation_id
    assert one.inbox.name == f"projects/p/subscriptions/{one.correlation_id}"
    assert one.inbox.filter == f'attributes.correlid = "{one.correlation_id}"'
    assert (one.inbox.expires_after_s, one.inbox.retention_s, one.lasting) == (DAY_S, DAY_S, False)
    assert one.inbox.labels == {"dag": "d", "source": "longcall"}


@pytest.mark.parametrize("name", ["reports", "projects/q/subscriptions/reports"])
def test_calls_of_a_shared_inbox_bear_its_name(name: str) -> None:
    address = SharedInbox(topic=TOPIC, name=name).new_call()

    assert address.correlation_id.startswith("reports.")
    assert address.inbox.filter == 'hasPrefix(attributes.correlid, "reports.")'
    assert address.inbox.name == (name if "/" in name else f"projects/p/subscriptions/{name}")
    assert address.inbox.expires_after_s is None
    assert address.lasting


@pytest.mark.parametrize(
    "policy",
    [PerCallInbox(topic=TOPIC), SharedInbox(topic=TOPIC, name="reports"), PerCallTopicInbox(project="p")],
)
def test_address_of_a_call_is_found_again(policy: InboxPolicy) -> None:
    address = policy.new_call()

    assert policy.address(address.correlation_id) == address


def test_shared_inbox_whose_answers_another_could_take_is_refused() -> None:
    with pytest.raises(ContractError, match=r"^inbox: 'prod\.eu'"):
        SharedInbox(topic=TOPIC, name="prod.eu").new_call()


def test_id_that_belongs_elsewhere_is_refused() -> None:
    with pytest.raises(ContractError, match="correlid"):
        SharedInbox(topic=TOPIC, name="reports").address("reports-2.abc")
    with pytest.raises(ContractError, match="correlid"):
        PerCallInbox(topic=TOPIC).address("a call")


def test_each_call_may_have_a_topic_too_that_is_called_as_its_id() -> None:
    address = PerCallTopicInbox(project="p", labels={"dag": "d"}).new_call()

    assert address.topic == address.inbox.topic == f"projects/p/topics/{address.correlation_id}"
    assert address.inbox.name == f"projects/p/subscriptions/{address.correlation_id}"
    assert (address.inbox.filter, address.lasting) == ("", False)


async def test_topic_of_a_call_is_labelled_and_goes_with_its_inbox() -> None:
    backend = MemoryBackend()
    transport = MemoryTransport(backend)
    address = PerCallTopicInbox(project="p", labels={"dag": "d"}).new_call()

    await address.create(transport)
    await address.create(transport)
    assert backend.topics == {address.topic: {"dag": "d", "source": "longcall"}}
    [found] = await transport.list_inboxes("p")
    assert (found.name, found.own_topic) == (address.inbox.name, address.topic)

    for _ in range(2):
        await delete_address(transport, inbox=address.inbox.name, topic=address.topic)
        assert (backend.topics, backend.inboxes) == ({}, {})


async def test_topic_whose_inbox_cannot_be_made_is_not_left_behind() -> None:
    backend = MemoryBackend()
    address = PerCallTopicInbox(project="p").new_call()
    bad = replace(address, inbox=replace(address.inbox, retention_s=1.0))

    with pytest.raises(TransportRefused, match="retention"):
        await bad.create(MemoryTransport(backend))

    assert backend.topics == {}


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({"topic": "reports"}, PerCallInbox(topic=TOPIC)),
        ({"topic": "reports", "inbox": "i"}, SharedInbox(topic=TOPIC, name="i")),
        ({"topic_per_call": True}, PerCallTopicInbox(project="p")),
        ({"topic_per_call": True, "project": "q"}, PerCallTopicInbox(project="q")),
    ],
)
def test_arguments_and_environment_say_which_policy_it_is(given: dict[str, str], policy: InboxPolicy) -> None:
    arguments = {"topic": None, "project": None, "inbox": None, "topic_per_call": False} | given
    assert policy_from_env({"GOOGLE_CLOUD_PROJECT": "p"}, **arguments) == policy  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "topic"),
        ({"topic_per_call": True}, "project"),
        ({"topic_per_call": True, "topic": "t"}, "name none"),
    ],
)
def test_policy_that_lacks_something_names_it(given: dict[str, str], field: str) -> None:
    arguments = {"topic": None, "project": None, "inbox": None, "topic_per_call": False} | given
    with pytest.raises(ContractError, match=field):
        policy_from_env({}, **arguments)  # type: ignore[arg-type]
