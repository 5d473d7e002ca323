"""One topic at work: who receives what is published to it, and what it keeps itself."""

from __future__ import annotations

from collections.abc import Mapping

from longcall.broker.core.index import FilterIndex
from longcall.broker.core.messages import HeldMessage, Holder
from longcall.broker.core.snapshot import ActiveSnapshot
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.protos import Topic

__all__ = ["ActiveTopic"]


class ActiveTopic:
    """A topic in memory. It holds messages itself while it has a message retention.

    Attributes:
        number: tells it from an earlier one of the same name.
        body: the `Topic` message as clients see it.
        subscriptions: attached ones, by name.
        snapshots: of its subscriptions, by name.
        retained: ids of the messages that it holds, the oldest first.
    """

    def __init__(self, number: int, body: Topic) -> None:
        self.number = number
        self.body = body
        self.subscriptions: dict[str, ActiveSubscription] = {}
        self.snapshots: dict[str, ActiveSnapshot] = {}
        self.retained: dict[int, None] = {}
        self.is_deleted = False
        self._index: FilterIndex[ActiveSubscription] = FilterIndex()

    @property
    def retains(self) -> bool:
        """Whether it keeps what is published, for subscriptions to seek back to."""
        return bool(self.body.HasField("message_retention_duration"))

    def receivers(self, attributes: Mapping[str, str]) -> list[Holder]:
        """Return who keeps a message with these attributes."""
        found: list[Holder] = list(self._index.matching(attributes))
        found += self.snapshots.values()
        if self.retains:
            found.append(self)
        return found

    def attach(self, subscription: ActiveSubscription) -> None:
        """Let a subscription receive from now on."""
        self.subscriptions[subscription.name] = subscription
        self._index.add(subscription, subscription.filter)

    def detach(self, subscription: ActiveSubscription) -> None:
        """Let it receive nothing more. One that is not attached is left alone."""
        if self.subscriptions.get(subscription.name) is subscription:
            del self.subscriptions[subscription.name]
            self._index.remove(subscription, subscription.filter)

    def receive(self, message_id: int, _: HeldMessage) -> None:
        """Keep a message that was published."""
        self.retained[message_id] = None

    def restore(self, message_id: int, _: HeldMessage, *, acked: bool) -> None:
        """Keep a message that the store has kept."""
        self.retained[message_id] = None
