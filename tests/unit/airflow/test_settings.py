"""Where a call's settings come from, in every combination."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from longcall.airflow.connection_form import CONNECTION_FIELDS, SIGNING
from longcall.airflow.connections import find_longcall_connection
from longcall.airflow.route import PubSubRoute
from longcall.airflow.settings import (
    InboxChoice,
    LongCallConnection,
    ServiceSettings,
    settle_inbox,
    settle_service,
)
from longcall.client import Signing
from longcall.contract import ContractError

NOTHING = LongCallConnection()
SECRET = "a secret of 24 characters"
CONNECTION = LongCallConnection(
    topic="of-connection",
    project_id="p-connection",
    inbox_policy="shared",
    inbox="inbox-connection",
    signing="required",
    secret=SECRET,
    http_conn_id="http-connection",
    gcp_conn_id="gcp-connection",
    impersonation_chain=("a@connection",),
    pubsub_endpoint="connection.example",
)
TASK = InboxChoice(
    topic="of-task",
    project_id="p-task",
    gcp_conn_id="gcp-task",
    impersonation_chain=["a@task", "b@task"],
    inbox_policy="shared",
    inbox="inbox-task",
)


def test_task_wins_in_everything_that_it_says() -> None:
    settled = settle_inbox(TASK, CONNECTION)

    assert (settled.topic, settled.project_id, settled.inbox_policy, settled.inbox) == (
        "of-task",
        "p-task",
        "shared",
        "inbox-task",
    )
    assert settled.route == PubSubRoute("gcp-task", ("a@task", "b@task"), "connection.example")
    service = settle_service(http_conn_id="http-task", signing="off", connection=CONNECTION)
    assert service == ServiceSettings(http_conn_id="http-task", signing="off", secret=SECRET)


def test_connection_fills_in_what_the_task_leaves_out() -> None:
    settled = settle_inbox(InboxChoice(), CONNECTION)

    assert (settled.topic, settled.project_id, settled.inbox_policy, settled.inbox) == (
        "of-connection",
        "p-connection",
        "shared",
        "inbox-connection",
    )
    assert settled.route == PubSubRoute("gcp-connection", ("a@connection",), "connection.example")
    service = settle_service(http_conn_id=None, signing=None, connection=CONNECTION)
    assert service == ServiceSettings(http_conn_id="http-connection", signing="required", secret=SECRET)


def test_defaults_fill_in_the_rest() -> None:
    settled = settle_inbox(InboxChoice(topic="t"), NOTHING)

    assert (settled.project_id, settled.inbox_policy, settled.inbox) == (None, "per_call", None)
    assert settled.route == PubSubRoute("google_cloud_default")
    service = settle_service(http_conn_id=None, signing=None, connection=NOTHING)
    assert service == ServiceSettings(http_conn_id="http_default", signing="auto", secret=None)


@pytest.mark.parametrize("field", ["topic", "project_id", "gcp_conn_id", "impersonation_chain", "inbox"])
def test_each_field_is_settled_by_itself(field: str) -> None:
    of_connection = settle_inbox(InboxChoice(), CONNECTION)
    one_less = settle_inbox(replace(TASK, **{field: None}), CONNECTION)

    attribute, within = {
        "gcp_conn_id": ("route", "gcp_conn_id"),
        "impersonation_chain": ("route", "impersonation_chain"),
    }.get(field, (field, None))
    expected, found = getattr(of_connection, attribute), getattr(one_less, attribute)
    if within is not None:
        expected, found = getattr(expected, within), getattr(found, within)
    assert found == expected
    assert one_less != settle_inbox(TASK, CONNECTION)


def test_text_that_a_template_left_empty_says_nothing() -> None:
    empty = InboxChoice(
        topic="", project_id="", gcp_conn_id="", impersonation_chain="", inbox_policy="", inbox=""
    )

    assert settle_inbox(empty, CONNECTION) == settle_inbox(InboxChoice(), CONNECTION)


def test_task_may_choose_an_inbox_of_its_own_against_a_shared_connection() -> None:
    settled = settle_inbox(InboxChoice(inbox_policy="per_call"), CONNECTION)

    assert (settled.inbox_policy, settled.inbox) == ("per_call", None)
    assert not settled.address(project="p-1", labels={}).lasting


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        (InboxChoice(), "topic"),
        (InboxChoice(topic="t" * 3, inbox_policy="mine"), "inbox_policy"),
        (InboxChoice(topic="t" * 3, inbox_policy="shared"), "inbox"),
        (InboxChoice(topic="t" * 3, inbox="mine"), "inbox"),
        (InboxChoice(topic="t" * 3, impersonation_chain="nobody"), "impersonation_chain"),
    ],
)
def test_choice_that_cannot_be_used_names_its_field(choice: InboxChoice, field: str) -> None:
    with pytest.raises(ContractError) as caught:
        settle_inbox(choice, NOTHING).address(project="p-1", labels={})

    assert caught.value.field == field


def test_connection_is_read_from_password_and_extra() -> None:
    extra = {
        "topic": " of-connection ",
        "project": "p-connection",
        "inbox_policy": "shared",
        "inbox": "inbox-connection",
        "signing": "required",
        "http_conn_id": "http-connection",
        "gcp_conn_id": "gcp-connection",
        "impersonation_chain": "a@connection",
        "pubsub_endpoint": "connection.example",
    }
    assert set(extra) == set(CONNECTION_FIELDS)
    assert LongCallConnection.read("c", password=SECRET, extra=extra) == CONNECTION
    assert SECRET not in repr(CONNECTION)
    assert (
        LongCallConnection.read("c", password=f"{SECRET}2,{SECRET}", extra={}).secret == f"{SECRET}2,{SECRET}"
    )
    assert LongCallConnection.read("c", password="", extra=dict.fromkeys(extra)) == NOTHING
    assert LongCallConnection.read("c", password=None, extra=dict.fromkeys(extra, "")) == NOTHING
    assert LongCallConnection.read("c", password=None, extra={"another": 1}) == NOTHING


@pytest.mark.parametrize(
    ("extra", "password", "words"),
    [
        ({"topic": 5}, None, "topic: a text, not 5"),
        ({"inbox_policy": "mine"}, None, "inbox_policy: one of per_call, shared"),
        ({"inbox": "mine"}, None, "inbox: only inbox_policy 'shared' takes a name"),
        ({"signing": True}, None, "signing: a text"),
        ({"signing": "yes"}, None, "signing: one of auto, required, off, not 'yes'"),
        ({"impersonation_chain": "me"}, None, "impersonation_chain: a service account's e-mail"),
        ({"pubsub_endpoint": "https://x/"}, None, "pubsub_endpoint: 'https://x/' is not host or host:port"),
        ({}, "too short", "password: a signing secret has at least 24 characters"),
        ({}, f"{SECRET}, too short", "password: a signing secret has at least 24 characters"),
    ],
)
def test_bad_value_is_one_error_that_names_connection_and_field(
    extra: dict[str, object], password: str | None, words: str
) -> None:
    with pytest.raises(ContractError) as caught:
        LongCallConnection.read("prod", password=password, extra=extra)

    assert str(caught.value).startswith(f"longcall_conn_id: 'prod': {words}")
    assert password is None or password not in str(caught.value)


def test_signing_is_one_of_its_words() -> None:
    assert get_args(Signing) == SIGNING
    with pytest.raises(ContractError, match="signing: one of auto, required, off, not 'yes'"):
        settle_service(http_conn_id=None, signing="yes", connection=NOTHING)


def test_connection_is_read_from_its_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CALLS", "longcall://?topic=completions&http_conn_id=digits")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "http://digits.example")

    assert find_longcall_connection("calls") == LongCallConnection(topic="completions", http_conn_id="digits")
    assert find_longcall_connection("") == NOTHING
    with pytest.raises(ContractError, match="longcall_conn_id: 'other' is a connection of type 'http'"):
        find_longcall_connection("other")
