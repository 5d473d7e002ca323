"""Where answers arrive: how a correlation id maps to an inbox. Nobody who waits knows which policy it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from longcall.client.labels import SOURCE_LABELS
from longcall.contract import (
    ContractError,
    correlation_filter,
    inbox_filter,
    new_correlation_id,
    new_inbox_correlation_id,
    resource_id,
    resource_path,
)
from longcall.transport.errors import TransportDenied
from longcall.transport.port import FoundInbox, InboxSpec, Transport

__all__ = [
    "CallAddress",
    "InboxPolicy",
    "PerCallInbox",
    "PerCallTopicInbox",
    "SharedInbox",
    "delete_address",
    "find_inboxes",
    "policy_from_env",
]

log = logging.getLogger(__name__)

_WEEK_S: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAddress:
    """A call and where its reports arrive.

    Attributes:
        correlation_id: the call.
        inbox: how to create the inbox.
        lasting: the inbox is shared and outlives the call.
        topic: full path of the call's own topic; empty: it has none, its reports come on one that all share.
    """

    correlation_id: str
    inbox: InboxSpec
    lasting: bool
    topic: str = ""

    async def create(self, transport: Transport) -> None:
        """Create the call's own topic, if it has one, and the inbox. A repeat changes nothing.

        Raises:
            TransportError: as `Transport.create_inbox` has it; nothing is left behind that could be deleted.
        """
        if not self.topic:
            return await transport.create_inbox(self.inbox)
        await transport.create_topic(self.topic, labels=self.inbox.labels)
        try:
            await transport.create_inbox(self.inbox)
        except BaseException:
            await transport.delete_topic(self.topic)
            raise


class InboxPolicy(Protocol):
    """Mints ids and says where their reports arrive."""

    def new_call(self, token: str | None = None) -> CallAddress:
        """Mint a correlation id and return it with its inbox.

        Args:
            token: the unguessable part of the id; None: random.
        """
        ...

    def address(self, correlation_id: str) -> CallAddress:
        """Return the address of a call that was minted by this policy before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PerCallInbox:
    """One subscription for each call: expires when unused for 24 h, deleted when the call ends.

    Attributes:
        topic: full path of the topic.
        labels: beside `source: longcall`.
    """

    topic: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def new_call(self, token: str | None = None) -> CallAddress:
        """Mint a correlation id; the subscription is called the same."""
        return self.address(new_correlation_id(token))

    def address(self, correlation_id: str) -> CallAddress:
        """Return the address of a call.

        Raises:
            ContractError: the id cannot be the name of a subscription.
        """
        project = self.topic.split("/")[1]
        inbox = InboxSpec(
            name=resource_path(correlation_id, project=project, collection="subscriptions", field="correlid"),
            topic=self.topic,
            filter=correlation_filter(correlation_id),
            labels={**self.labels, **SOURCE_LABELS},
        )
        return CallAddress(correlation_id=correlation_id, inbox=inbox, lasting=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerCallTopicInbox:
    """A topic and a subscription of its own for each call; the request asks the service to publish there.

    For services that cannot set attributes: whatever comes is of this call. Both are deleted when the call
    ends. A topic that is left behind does not expire by itself; it is named as its call, `lc-…`, and has
    labels.

    Attributes:
        project: where to make them.
        labels: of both, beside `source: longcall`.
    """

    project: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def new_call(self, token: str | None = None) -> CallAddress:
        """Mint a correlation id; topic and subscription are called the same."""
        return self.address(new_correlation_id(token))

    def address(self, correlation_id: str) -> CallAddress:
        """Return the address of a call.

        Raises:
            ContractError: the id cannot be the name of a topic.
        """
        topic, name = (
            resource_path(correlation_id, project=self.project, collection=collection, field="correlid")
            for collection in ("topics", "subscriptions")
        )
        inbox = InboxSpec(name=name, topic=topic, filter="", labels={**self.labels, **SOURCE_LABELS})
        return CallAddress(correlation_id=correlation_id, inbox=inbox, lasting=False, topic=topic)


async def delete_address(transport: Transport, *, inbox: str, topic: str) -> None:
    """Delete a call's own inbox, and its own topic if it has one; what is gone is deleted.

    Args:
        transport: where they are.
        inbox: full path.
        topic: full path; empty: it has none.

    Raises:
        TransportError: they may still be there. The inbox goes first: one that had lost its topic could not
            be made again under its name.
    """
    await transport.delete_inbox(inbox)
    if topic:
        await transport.delete_topic(topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedInbox:
    """One lasting subscription for every call of a deployment; ids begin with its name.

    Attributes:
        topic: full path of the topic.
        name: of the subscription, by id or path, without a dot in the id; unique to the deployment, or
            callers would take each other's answers.
    """

    topic: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def new_call(self, token: str | None = None) -> CallAddress:
        """Mint a correlation id that begins with the inbox's name."""
        return self.address(new_inbox_correlation_id(self._inbox_id, token))

    def address(self, correlation_id: str) -> CallAddress:
        """Return the address of a call.

        Raises:
            ContractError: the id belongs to another inbox, or the name is none for a subscription.
        """
        if "." in self._inbox_id:
            # The inbox "prod" would also take the answers of "prod.eu".
            raise ContractError("inbox", f"{self._inbox_id!r}: a shared inbox has no dot in its name")
        if not correlation_id.startswith(self._inbox_id + "."):
            raise ContractError("correlid", f"does not belong to the inbox {self._inbox_id!r}")
        inbox = InboxSpec(
            name=resource_path(
                self.name,
                project=self.topic.split("/")[1],
                collection="subscriptions",
                field="inbox",
            ),
            topic=self.topic,
            filter=inbox_filter(self._inbox_id),
            expires_after_s=None,
            retention_s=_WEEK_S,
            labels={**self.labels, **SOURCE_LABELS},
        )
        return CallAddress(correlation_id=correlation_id, inbox=inbox, lasting=True)

    @property
    def _inbox_id(self) -> str:
        return resource_id(self.name)


async def find_inboxes(transport: Transport, project: str) -> Sequence[FoundInbox]:
    """Return the inboxes of a project, those of others included, and those that calls' own topics have lost.

    An inbox that nobody uses expires, and the topic that was its own stays: it is found as if both were
    there, so that `delete_address` ends it. Who may not list topics finds none of these.

    Raises:
        TransportError: the inboxes cannot be listed.
    """
    found = list(await transport.list_inboxes(project))
    names = {inbox.name for inbox in found}
    try:
        topics = await transport.list_topics(project)
    except TransportDenied as error:
        log.info("Topics that calls have left are not looked for: %s", error)
        topics = {}
    for topic, labels in topics.items():
        name = f"projects/{project}/subscriptions/{resource_id(topic)}"
        is_ours = SOURCE_LABELS.items() <= labels.items() and resource_id(topic).startswith("lc-")
        if is_ours and name not in names:
            found.append(FoundInbox(name=name, topic=topic, labels=labels))
    return found


def policy_from_env(
    environ: Mapping[str, str],
    *,
    topic: str | None,
    project: str | None,
    inbox: str | None,
    topic_per_call: bool,
) -> InboxPolicy:
    """Return the policy that the arguments of `AsyncClient.from_env` ask for.

    Raises:
        ContractError: the topic or the project is missing, or cannot be one, or they do not go together.
    """
    project = project or environ.get("GOOGLE_CLOUD_PROJECT")
    if topic_per_call:
        if topic or inbox:
            raise ContractError("topic_per_call", "each call has a topic and an inbox of its own: name none")
        if not project:
            raise ContractError("project", "missing: give project, or set GOOGLE_CLOUD_PROJECT")
        return PerCallTopicInbox(project=project)
    named = topic or environ.get("LONGCALL_TOPIC")
    if not named:
        raise ContractError("topic", "missing: give topic, or set LONGCALL_TOPIC")
    path = resource_path(named, project=project, collection="topics", field="topic")
    return PerCallInbox(topic=path) if inbox is None else SharedInbox(topic=path, name=inbox)
