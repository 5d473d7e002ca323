"""What a broker knows, in memory: resources by name, and the messages that they hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from longcall._core.clock import Clock
from longcall.broker.core.journal import Observer
from longcall.broker.core.messages import HeldMessage, Holder, MessageTable
from longcall.broker.core.policy import ResourcePolicy, load_policies
from longcall.broker.core.schema import ActiveSchema, Revision, load_schemas
from longcall.broker.core.snapshot import ActiveSnapshot
from longcall.broker.core.store import SavedState, Store
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.core.topic import ActiveTopic
from longcall.broker.errors import AlreadyExists, NotFound, Unavailable
from longcall.broker.rules.faults import Faults
from longcall.broker.rules.names import check_name
from longcall.broker.rules.schemas import schema_not_found, split_revision
from longcall.broker.wire import Wire

__all__ = ["BrokerState"]

_T = TypeVar("_T")
_RETURN_GRACE_S: Final = 600.0
"""How long after a restart a subscription lives at least, however long the broker was away."""


class BrokerState:
    """The tables of one broker. For one event loop.

    Attributes:
        store: where what must last is written.
        clock: the time.
        topics: by name; so are the next two.
        subscriptions: the expired too, until they are swept away.
        snapshots: likewise.
        schemas: by name.
        policies: by the name of their resource; also of some that are gone, until they are swept away.
        messages: by id.
        observer: told what happens to messages.
        faults: what a test wants to go wrong.
        serials: rising numbers, above every one ever given: for resources, messages and leases.
        on_subscription_change: called after a subscription was created, loaded, updated, detached or deleted.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.topics: dict[str, ActiveTopic] = {}
        self.subscriptions: dict[str, ActiveSubscription] = {}
        self.snapshots: dict[str, ActiveSnapshot] = {}
        self.schemas: dict[str, ActiveSchema] = {}
        self.policies: dict[str, ResourcePolicy] = {}
        self.messages = MessageTable()
        self.observer = Observer()
        self.faults = Faults()
        self.serials = itertools.count(1)
        self.on_subscription_change: Callable[[ActiveSubscription], object] = lambda _: None

    def now_s(self) -> float:
        """Return the wall clock in epoch seconds."""
        return self.clock.now().timestamp()

    def topic(self, name: str) -> ActiveTopic:
        """Return a topic, or raise NotFound."""
        topic = self.topics.get(name)
        if topic is None:
            raise NotFound(f"Topic not found: Resource not found (resource={id_of(name)}).")
        return topic

    def subscription(self, name: str) -> ActiveSubscription:
        """Return a subscription and count that as activity, or raise NotFound."""
        subscription = self.subscriptions.get(name)
        now_s = self.now_s()
        if subscription is None or subscription.has_expired(now_s):
            raise NotFound(f"Resource not found (resource={id_of(name)}).")
        subscription.active_s = now_s
        return subscription

    def snapshot(self, name: str) -> ActiveSnapshot:
        """Return a snapshot, or raise NotFound."""
        snapshot = self.snapshots.get(name)
        if snapshot is None or snapshot.has_expired(self.now_s()):
            raise NotFound(f"Resource not found (resource={id_of(name)}).")
        return snapshot

    def schema(self, name: str) -> ActiveSchema:
        """Return a schema, or raise NotFound."""
        schema = self.schemas.get(check_name(name, "schemas"))
        if schema is None:
            raise schema_not_found(name)
        return schema

    def schema_revision(self, name: str) -> Revision:
        """Return the revision that a name says after an @, or else the newest one, or raise NotFound."""
        schema_name, revision_id = split_revision(name)
        schema = self.schema(schema_name)
        revision = schema.find(revision_id) if "@" in name else schema.newest
        if revision is None:
            raise schema_not_found(name)
        return revision

    def attach(self, subscription: ActiveSubscription) -> None:
        """Take up a subscription; it receives from its topic, if that is there and it is not detached."""
        self.subscriptions[subscription.name] = subscription
        self.on_subscription_change(subscription)
        topic = self.topics.get(subscription.body.topic)
        if topic is not None and not subscription.body.detached:
            topic.attach(subscription)

    def load(self, state: SavedState) -> None:
        """Start again from what a store has kept; streams of before end with Unavailable.

        Leases of the past are void: what was not acknowledged is ready again.
        """
        for former in self.subscriptions.values():
            former.end(Unavailable("The broker has started again from its store; try again."))
        self.topics, self.subscriptions, self.snapshots = {}, {}, {}
        self.schemas = load_schemas(state)
        self.policies = load_policies(state)
        self.messages = MessageTable()
        now_s = self.now_s()
        newest = max([0, *(row[0] for row in state.messages), *(each.number for each in state.resources)])
        # Above every number ever given, if the wall clock has not been set back since.
        self.serials = itertools.count(max(newest + 1, round(now_s * 1e6), next(self.serials)))
        holders = self._load_resources(state, now_s)
        held = {}
        for message_id, body in state.messages:
            message = Wire.PubsubMessage.FromString(body)
            published_s = message.publish_time.ToNanoseconds() / 1e9
            held[message_id] = HeldMessage(message, len(body), published_s)
        for number, message_id, acked in state.deliveries:
            holder = holders.get(number)
            if holder is not None and message_id in held:
                held[message_id].holders += 1
                holder.restore(message_id, held[message_id], acked=bool(acked))
        for message_id, kept in held.items():
            self.messages.add(message_id, kept)

    def _load_resources(self, state: SavedState, now_s: float) -> Mapping[int, Holder]:
        holders: dict[int, Holder] = {}
        for saved in state.of_kind("topic"):
            topic = ActiveTopic(saved.number, Wire.Topic.FromString(saved.body))
            self.topics[saved.name] = holders[saved.number] = topic
        for saved in state.of_kind("subscription"):
            body = Wire.Subscription.FromString(saved.body)
            subscription = ActiveSubscription(
                saved.number, body, active_s=saved.active_s, serials=self.serials
            )
            subscription.spare(now_s, grace_s=_RETURN_GRACE_S)
            if body.detached:
                subscription.detach()
            self.attach(subscription)
            holders[saved.number] = subscription
        for saved in state.of_kind("snapshot"):
            snapshot = ActiveSnapshot(saved.number, Wire.Snapshot.FromString(saved.body))
            self.snapshots[saved.name] = holders[saved.number] = snapshot
            if snapshot.body.topic in self.topics:
                self.topics[snapshot.body.topic].snapshots[saved.name] = snapshot
        return holders


def id_of(name: str) -> str:
    """Return the last part of a name."""
    return name.rpartition("/")[2]


def refuse_existing(name: str, existing: Mapping[str, object]) -> None:
    """Return if no resource has this name yet.

    Raises:
        AlreadyExists: one has.
    """
    if name in existing:
        raise AlreadyExists(f"Resource already exists in the project (resource={id_of(name)}).")
