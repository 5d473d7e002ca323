"""Where answers arrive."""

from __future__ import annotations

import pytest

from longcall.client import InboxPolicy, PerCallInbox, SharedInbox
from longcall.contract import ContractError

TOPIC = "projects/p/topics/reports"
DAY_S = 86400.0


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


@pytest.mark.parametrize("policy", [PerCallInbox(topic=TOPIC), SharedInbox(topic=TOPIC, name="reports")])
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
