"""Where a call's settings come from: the task, else its `longcall` connection, else the default. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from longcall.airflow.connection_form import (
    CONNECTION_FIELDS,
    DEFAULT_GCP_CONN_ID,
    DEFAULT_HTTP_CONN_ID,
    INBOX_POLICIES,
    SIGNING,
)
from longcall.airflow.route import PubSubRoute, accounts_in, checked_endpoint
from longcall.client import CallAddress, PerCallInbox, PerCallTopicInbox, SharedInbox
from longcall.contract import ContractError, resource_path

__all__ = [
    "InboxChoice",
    "InboxSettings",
    "LongCallConnection",
    "ServiceSettings",
    "refuse_unknown",
    "settle_inbox",
    "settle_route",
    "settle_service",
]

_MIN_SECRET: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class LongCallConnection:
    """What a `longcall` connection says; None where it says nothing. It shows no secret.

    Attributes:
        topic: where services publish, as a path or an id.
        project_id: of topic and inboxes.
        inbox_policy: `per_call`, `shared` or `per_call_topic`.
        inbox: name of the shared inbox.
        signing: `auto`, `required` or `off`.
        secret: what keys for reports are derived from (`NEW,OLD` in a rotation); None: from `fernet_key`.
        http_conn_id: the connection to the service.
        gcp_conn_id: the Google connection.
        impersonation_chain: service accounts, the last of which uses Pub/Sub.
        pubsub_endpoint: of Pub/Sub.
    """

    topic: str | None = None
    project_id: str | None = None
    inbox_policy: str | None = None
    inbox: str | None = None
    signing: str | None = None
    secret: str | None = field(default=None, repr=False)
    http_conn_id: str | None = None
    gcp_conn_id: str | None = None
    impersonation_chain: tuple[str, ...] = ()
    pubsub_endpoint: str | None = None

    @classmethod
    def read(cls, conn_id: str, *, password: str | None, extra: Mapping[str, object]) -> Self:
        """Read a connection; what its extra holds beside `CONNECTION_FIELDS` does not count.

        Raises:
            ContractError: names the connection, the field and what would be right; never the secret.
        """
        text = {name: _text(conn_id, name, extra.get(name)) for name in _TEXTS}
        _one_of(conn_id, "inbox_policy", text["inbox_policy"], INBOX_POLICIES)
        _one_of(conn_id, "signing", text["signing"], SIGNING)
        if text["inbox"] and text["inbox_policy"] != "shared":
            raise _error(conn_id, "inbox", "only inbox_policy 'shared' takes a name")
        if password and any(len(each.strip()) < _MIN_SECRET for each in password.split(",")):
            raise _error(
                conn_id,
                "password",
                f"a signing secret has at least {_MIN_SECRET} characters (NEW,OLD: each): make one with "
                '`python -c "import secrets; print(secrets.token_urlsafe(32))"`',
            )
        endpoint = text.pop("pubsub_endpoint")
        if endpoint:
            checked_endpoint(endpoint, field=_where(conn_id, "pubsub_endpoint"))
        return cls(
            project_id=text.pop("project"),
            secret=password or None,
            impersonation_chain=accounts_in(
                extra.get("impersonation_chain"), field=_where(conn_id, "impersonation_chain")
            ),
            pubsub_endpoint=endpoint,
            **text,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxChoice:
    """Where the answer shall arrive, as the DAG's author wrote it; None: not for the task to say.

    Attributes:
        topic: where the service publishes, as a path or an id.
        project_id: of topic and inbox.
        longcall_conn_id: the `longcall` connection.
        gcp_conn_id: the Google connection.
        impersonation_chain: a service account, or the way to it.
        inbox_policy: `per_call`, `shared` or `per_call_topic`.
        inbox: name of the shared inbox.
    """

    topic: str | None = None
    project_id: str | None = None
    longcall_conn_id: str | None = None
    gcp_conn_id: str | None = None
    impersonation_chain: object = None
    inbox_policy: str | None = None
    inbox: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxSettings:
    """Where the answer shall arrive, all told.

    Attributes:
        topic: where the service publishes, as a path or an id; `per_call_topic` does not look at it.
        project_id: None: the Google connection's or the environment's.
        route: the way to Pub/Sub.
        inbox_policy: `per_call`, `shared` or `per_call_topic`.
        inbox: name of the shared inbox.
    """

    topic: str
    project_id: str | None
    route: PubSubRoute
    inbox_policy: str
    inbox: str | None

    def address(self, *, project: str, labels: Mapping[str, str], token: str | None = None) -> CallAddress:
        """Make the correlation id of a token, or a random one, and say which inbox it belongs to.

        Raises:
            ContractError: the topic, the policy or the shared inbox's name cannot be used.
        """
        if (self.inbox_policy, self.inbox) == ("per_call_topic", None):
            return PerCallTopicInbox(project=project, labels=labels).new_call(token)
        topic = resource_path(self.topic, project=project, collection="topics", field="topic")
        match self.inbox_policy, self.inbox:
            case "per_call", None:
                return PerCallInbox(topic=topic, labels=labels).new_call(token)
            case "shared", str(name):
                return SharedInbox(topic=topic, name=name, labels={}).new_call(token)
            case "shared", None:
                raise ContractError(
                    "inbox", "inbox_policy='shared' needs a name that is unique to this deployment"
                )
            case "per_call" | "per_call_topic", _:
                raise ContractError("inbox", "only inbox_policy='shared' takes a name")
            case policy, _:
                raise ContractError("inbox_policy", f"{policy!r} is none of {', '.join(INBOX_POLICIES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Which service, and whether its reports must be signed.

    Attributes:
        http_conn_id: the connection to the service.
        signing: `auto`, `required` or `off`.
        secret: what keys for reports are derived from; None: from `fernet_key`.
    """

    http_conn_id: str
    signing: str
    secret: str | None = field(default=None, repr=False)


def settle_inbox(choice: InboxChoice, connection: LongCallConnection) -> InboxSettings:
    """Return what the task says, else the connection, else the default.

    The connection's inbox name counts where the policy is `shared`: a task may choose `per_call` instead.

    Raises:
        ContractError: nobody names a topic, or the impersonation chain is none.
    """
    topic = choice.topic or connection.topic or ""
    policy = choice.inbox_policy or connection.inbox_policy or INBOX_POLICIES[0]
    if not topic and policy != "per_call_topic":
        raise ContractError(
            "topic", "none given: set it on the task, or in the connection of longcall_conn_id"
        )
    inbox = choice.inbox or (connection.inbox if policy == "shared" else None)
    return InboxSettings(
        topic=topic,
        project_id=choice.project_id or connection.project_id,
        route=settle_route(choice, connection),
        inbox_policy=policy,
        inbox=inbox or None,
    )


def settle_route(choice: InboxChoice, connection: LongCallConnection) -> PubSubRoute:
    """Return the way to Pub/Sub that the task says, else the connection, else the default.

    Raises:
        ContractError: the impersonation chain is none.
    """
    return PubSubRoute(
        choice.gcp_conn_id or connection.gcp_conn_id or DEFAULT_GCP_CONN_ID,
        accounts_in(choice.impersonation_chain) or connection.impersonation_chain,
        connection.pubsub_endpoint,
    )


def settle_service(
    *, http_conn_id: str | None, signing: str | None, connection: LongCallConnection
) -> ServiceSettings:
    """Return what the task says, else the connection, else the default.

    Raises:
        ContractError: `signing` is none of its words.
    """
    settled = signing or connection.signing or "auto"
    if settled not in SIGNING:
        raise ContractError("signing", f"one of {', '.join(SIGNING)}, not {settled!r}")
    return ServiceSettings(
        http_conn_id=http_conn_id or connection.http_conn_id or DEFAULT_HTTP_CONN_ID,
        signing=settled,
        secret=connection.secret,
    )


def refuse_unknown(conn_id: str, extra: Mapping[str, object]) -> None:
    """Refuse a field that a `longcall` connection does not have: it is misspelt, as a rule.

    Raises:
        ContractError: names it, and those that there are.
    """
    for name in extra:
        if name not in CONNECTION_FIELDS:
            raise _error(conn_id, name, f"is no field of it; there are {', '.join(CONNECTION_FIELDS)}")


_TEXTS: Final = tuple(name for name in CONNECTION_FIELDS if name != "impersonation_chain")


def _text(conn_id: str, name: str, value: object) -> str | None:
    if value is None or value == "":  # what forms leave where nothing was typed
        return None
    if not isinstance(value, str):
        raise _error(conn_id, name, f"a text, not {value!r:.80}")
    return value.strip() or None


def _one_of(conn_id: str, name: str, value: str | None, words: tuple[str, ...]) -> None:
    if value is not None and value not in words:
        raise _error(conn_id, name, f"one of {', '.join(words)}, not {value!r:.80}")


def _where(conn_id: str, name: str) -> str:
    return f"longcall_conn_id: {conn_id!r}: {name}"


def _error(conn_id: str, name: str, reason: str) -> ContractError:
    return ContractError(_where(conn_id, name), reason)
