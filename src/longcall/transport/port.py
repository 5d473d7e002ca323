"""The port: what longcall needs of a message system.

Reports are published to a topic; a caller receives its own through an inbox, a
subscription with a filter. Names are full Pub/Sub paths (`projects/p/topics/t`).
Adapters: `pubsub` (Google Pub/Sub and the embedded broker) and `memory` (the
double). Both pass one conformance suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from longcall.contract import Message

__all__ = ["DAY_S", "Delivery", "FoundInbox", "InboxSpec", "InboxStream", "Transport"]

DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxSpec:
    """An inbox as it is created.

    Google Pub/Sub refuses a retention that is longer than the expiration, hence the defaults.

    Attributes:
        name: full path of the subscription.
        topic: full path of the topic, which must exist.
        filter: in the Pub/Sub filter language; immutable once created. Empty lets everything through.
        expires_after_s: unused for so long, the inbox deletes itself; 24 h at least; None: never.
        retention_s: how long a report waits to be acknowledged, 10 min to 31 d.
        ack_deadline_s: how long a delivered report stays leased, 10 to 600 s.
        labels: at most 64; keys and values as `sanitize_label` leaves them.
    """

    name: str
    topic: str
    filter: str
    expires_after_s: float | None = DAY_S
    retention_s: float = DAY_S
    ack_deadline_s: float = 60.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInbox:
    """An inbox that exists.

    Attributes:
        name: full path of the subscription.
        topic: full path of the topic; `_deleted-topic_` when that is gone.
        labels: as it was created with.
    """

    name: str
    topic: str
    labels: Mapping[str, str]

    @property
    def own_topic(self) -> str:
        """Full path of its topic if that is the inbox's alone, for both have one id; or empty."""
        has_own = self.topic.rpartition("/")[2] == self.name.rpartition("/")[2]
        return self.topic if has_own else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message, leased to whoever holds `ack_id` until it is acknowledged, released or expires."""

    message: Message
    ack_id: str


class InboxStream(Protocol):
    """Messages of one inbox as they arrive, over one connection."""

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Yield each delivery once; the same message may come again under another ack id.

        Cancelling whoever waits for the next delivery may end the stream: open another.

        Raises:
            InboxNotFound: the inbox does not exist, or no longer.
            TransportUnavailable: the connection broke or was closed; open another stream.
        """
        ...


class Transport(Protocol):
    """A connection to the message system. Made in one event loop and used in it alone."""

    async def create_topic(self, name: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Create a topic; one that exists is left as it is.

        An administrator does so once for a topic that all share. One of a call's own has to be deleted: no
        topic expires by itself.

        Args:
            name: full path.
            labels: as an inbox's.
        """
        ...

    async def delete_topic(self, name: str) -> None:
        """Delete a topic; one that does not exist is deleted already. Its inboxes stay, and get no more."""
        ...

    async def publish(self, topic: str, message: Message) -> str:
        """Publish and return the message id, once the message is stored.

        Raises:
            TopicNotFound: not retryable.
            TransportUnavailable: perhaps stored, perhaps not; publishing again is safe when the receiver
                de-duplicates by report id.
        """
        ...

    async def create_inbox(self, spec: InboxSpec) -> None:
        """Create the inbox; what is published after the return will be in it.

        A repeat with the same topic and filter changes nothing.

        Raises:
            TopicNotFound: not retryable.
            InboxConflict: an inbox of this name exists, with another topic or filter.
            TransportRefused: a value is out of its range, or the retention exceeds the expiration.
        """
        ...

    async def delete_inbox(self, name: str) -> None:
        """Delete the inbox and what is in it; one that does not exist is deleted already."""
        ...

    async def list_inboxes(self, project: str) -> Sequence[FoundInbox]:
        """Return all subscriptions of a project, those of others included."""
        ...

    async def list_topics(self, project: str) -> Mapping[str, Mapping[str, str]]:
        """Return the labels of all topics of a project by full path, those of others included."""
        ...

    def open_stream(self, inbox: str, *, lease_s: float) -> AbstractAsyncContextManager[InboxStream]:
        """Open a stream of the inbox's messages, each leased for `lease_s` (10 to 600 s).

        Leaving the context closes the stream; what it delivered and nobody acknowledged comes again when
        its lease ends.

        Raises:
            InboxNotFound: here, or from the stream.
            TransportUnavailable: here, or from the stream.
        """
        ...

    async def acknowledge(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Delete delivered messages from the inbox for good. Unknown ack ids are ignored."""
        ...

    async def extend(self, inbox: str, ack_ids: Sequence[str], *, lease_s: float) -> None:
        """Lease delivered messages for `lease_s` from now. Unknown ack ids are ignored."""
        ...

    async def release(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Give delivered messages back, so that they are delivered again at once."""
        ...

    async def aclose(self) -> None:
        """Close the connection. A repeat does nothing; any other use afterwards is refused."""
        ...
