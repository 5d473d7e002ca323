"""The broker without its sockets: topics, subscriptions, and what happens to a message between them."""

from __future__ import annotations

import heapq
import itertools
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from longcall._core.clock import Clock
from longcall.broker.core.ack_ids import AckId, decode_ack_id
from longcall.broker.core.index import FilterIndex
from longcall.broker.core.schemas import SchemaRegistry
from longcall.broker.core.store import SavedState, Store, Write
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from longcall.broker.rules.messages import check_publish
from longcall.broker.rules.names import project_of
from longcall.broker.rules.schemas import DELETED_SCHEMA
from longcall.broker.rules.subscriptions import (
    checked_subscription,
    updated_subscription,
    with_topic_retention,
)
from longcall.broker.rules.topics import DELETED_TOPIC, checked_topic, updated_topic
from longcall.broker.wire import Wire, seconds_of

__all__ = ["BrokerCore", "HeldMessage"]

log = logging.getLogger(__name__)

_RETURN_GRACE_S: Final = 600.0
"""How long after a restart a subscription lives at least, however long the broker was away."""


@dataclass(slots=True, eq=False)
class HeldMessage:
    """A message that somebody still has to get.

    Attributes:
        body: the `PubsubMessage` as clients see it.
        size_bytes: on the wire.
        published_s: epoch seconds.
        owed: how many subscriptions have not acknowledged it.
    """

    body: Any
    size_bytes: int
    published_s: float
    owed: int = 0


@dataclass(slots=True, eq=False)
class _Topic:
    body: Any
    index: FilterIndex[ActiveSubscription] = field(default_factory=FilterIndex)
    subscriptions: dict[str, ActiveSubscription] = field(default_factory=dict)


class BrokerCore:
    """All state of one broker. For one event loop; methods that change what must last are awaited."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.schemas = SchemaRegistry(store, clock)
        self._topics: dict[str, _Topic] = {}
        self._subscriptions: dict[str, ActiveSubscription] = {}
        self._by_number: dict[int, ActiveSubscription] = {}
        self._messages: dict[int, HeldMessage] = {}
        self._unowed: list[int] = []  # stored, and for nobody: the next sweep deletes them
        self._alarms: list[tuple[float, int]] = []
        self._ids = itertools.count(1)
        self.on_alarm: Callable[[], object] = lambda: None
        """Called when the next alarm is earlier than before."""

    def load(self, state: SavedState) -> None:
        """Take over what a store has kept. Leases of the past are void: un-acked is ready again."""
        now_s = self._now_s()
        newest = max([0, *(row[0] for row in state.messages), *(each.number for each in state.resources)])
        # Above every id ever given, if the wall clock has not been set back since: ids are not reused.
        self._ids = itertools.count(max(newest + 1, round(now_s * 1e6)))
        self.schemas.load(state)
        for saved in state.of_kind("topic"):
            self._topics[saved.name] = _Topic(Wire.Topic.FromString(saved.body))
        for saved in state.of_kind("subscription"):
            body = Wire.Subscription.FromString(saved.body)
            subscription = ActiveSubscription(saved.number, body, active_s=saved.active_s)
            subscription.spare(now_s, grace_s=_RETURN_GRACE_S)
            self._attach(subscription)
        for message_id, body in state.messages:
            message = Wire.PubsubMessage.FromString(body)
            published_s = message.publish_time.ToNanoseconds() / 1e9
            self._messages[message_id] = HeldMessage(message, len(body), published_s)
        for number, message_id, _ in state.deliveries:
            held, receiver = self._messages.get(message_id), self._by_number.get(number)
            if held is not None and receiver is not None:
                held.owed += 1
                receiver.queue.add(message_id, held.size_bytes)
        self._unowed = [message_id for message_id, held in self._messages.items() if not held.owed]
        for message_id in self._unowed:
            del self._messages[message_id]

    # Topics

    async def create_topic(self, wanted: Any) -> Any:
        """Create a topic; errors as `checked_topic`, and AlreadyExists."""
        body = checked_topic(wanted)
        if body.HasField("schema_settings"):
            self.schemas.check_settings(body.schema_settings)
        if body.name in self._topics:
            raise AlreadyExists(f"Resource already exists in the project (resource={_id(body.name)}).")
        self._topics[body.name] = _Topic(body)
        await self._store.write([Write.resource("topic", body.name, body.SerializeToString())])
        return body

    def topic(self, name: str) -> Any:
        """Return a topic's body, or raise NotFound."""
        return self._topic(name).body

    async def update_topic(self, update: Any, paths: Sequence[str]) -> Any:
        """Change the masked fields."""
        topic = self._topic(update.name)
        body = updated_topic(topic.body, update, paths)
        if body.HasField("schema_settings") and body.schema_settings != topic.body.schema_settings:
            self.schemas.check_settings(body.schema_settings)
        topic.body = body
        for subscription in topic.subscriptions.values():
            subscription.update(with_topic_retention(subscription.body, topic.body))
        await self._store.write([Write.resource("topic", update.name, topic.body.SerializeToString())])
        return topic.body

    def topics(self, project: str) -> list[Any]:
        """Return the bodies of a project's topics, by name."""
        return [self._topics[name].body for name in sorted(self._topics) if project_of(name) == project]

    def topic_subscriptions(self, name: str) -> list[str]:
        """Return the names of a topic's subscriptions."""
        return sorted(self._topic(name).subscriptions)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic. Its subscriptions stay, with their backlog, on no topic."""
        topic = self._topic(name)
        del self._topics[name]
        writes = [Write.resource_gone("topic", name)]
        for subscription in topic.subscriptions.values():
            subscription.body.topic = DELETED_TOPIC
            writes.append(_saved(subscription))
        await self._store.write(writes)

    async def delete_schema(self, name: str) -> None:
        """Delete a schema. Its topics stay, and nothing more can be published on them."""
        writes = self.schemas.remove(name)
        for topic in self._topics.values():
            if topic.body.schema_settings.schema == name:
                topic.body.schema_settings.schema = DELETED_SCHEMA
                writes.append(Write.resource("topic", topic.body.name, topic.body.SerializeToString()))
        await self._store.write(writes)

    # Subscriptions

    async def create_subscription(self, wanted: Any) -> Any:
        """Create a subscription; what is published after the return will be in it.

        One without a name is given one, in the project of its topic.
        """
        body = checked_subscription(wanted, name_if_none=f"longcall-{secrets.token_hex(8)}")
        body = with_topic_retention(body, self._topic(body.topic).body)
        now_s = self._now_s()
        subscription = ActiveSubscription(next(self._ids), body, active_s=now_s)
        former = self._subscriptions.get(body.name)
        if former is not None and not former.has_expired(now_s):
            raise AlreadyExists(f"Resource already exists in the project (resource={_id(body.name)}).")
        writes = self._detach(former) if former is not None else []
        self._attach(subscription)
        await self._store.write([*writes, _saved(subscription)])
        return body

    def subscription(self, name: str) -> ActiveSubscription:
        """Return a subscription and count that as activity, or raise NotFound."""
        subscription = self._subscriptions.get(name)
        if subscription is None or subscription.has_expired(self._now_s()):
            raise NotFound(f"Resource not found (resource={_id(name)}).")
        subscription.active_s = self._now_s()
        return subscription

    async def update_subscription(self, update: Any, paths: Sequence[str]) -> Any:
        """Change the masked fields."""
        subscription = self.subscription(update.name)
        subscription.update(updated_subscription(subscription.body, update, paths))
        await self._store.write([_saved(subscription)])
        return subscription.body

    def subscriptions(self, project: str) -> list[Any]:
        """Return the bodies of a project's subscriptions, by name."""
        now_s = self._now_s()
        return [
            subscription.body
            for name, subscription in sorted(self._subscriptions.items())
            if project_of(name) == project and not subscription.has_expired(now_s)
        ]

    async def delete_subscription(self, name: str) -> None:
        """Delete a subscription and its backlog; its streams end."""
        await self._store.write(self._detach(self.subscription(name)))

    # Messages

    async def publish(self, topic_name: str, messages: Sequence[Any], *, request_bytes: int) -> list[str]:
        """Store messages for every subscription whose filter matches, then deliver; return their ids.

        Cancelling stops the wait, not the publish: what is stored is delivered.
        """
        check_publish(messages, request_bytes=request_bytes)
        messages = await self.schemas.stamped(self._topic(topic_name).body, messages)
        topic = self._topic(topic_name)
        now_s = self._now_s()
        routed: list[tuple[int, HeldMessage, list[ActiveSubscription]]] = []
        ids = []
        for message in messages:
            message_id = next(self._ids)
            ids.append(str(message_id))
            wanted = list(topic.index.matching(message.attributes))
            if not wanted:
                continue
            body = Wire.PubsubMessage()
            body.CopyFrom(message)
            body.message_id = str(message_id)
            body.publish_time.FromNanoseconds(round(now_s * 1e9))
            routed.append((message_id, HeldMessage(body, body.ByteSize(), now_s), wanted))
        if routed:
            await self._store.write(
                [
                    Write.messages((i, held.body.SerializeToString()) for i, held, _ in routed),
                    Write.deliveries((s.number, i) for i, _, wanted in routed for s in wanted),
                ],
                then=lambda: self._deliver(routed),
            )
        return ids

    def message(self, message_id: int) -> HeldMessage:
        """Return a message that is leased."""
        return self._messages[message_id]

    async def acknowledge(self, subscription: ActiveSubscription, ack_ids: Iterable[str]) -> None:
        """Drop deliveries for good. One that is late or superseded counts; an unknown one is ignored.

        Raises:
            InvalidArgument: an ack id is none of this subscription's; nothing was acknowledged.
        """
        done = [
            ack.message_id
            for ack in self._decode(subscription, ack_ids)
            if subscription.queue.acknowledge(ack.message_id)
        ]
        if done:
            subscription.notify()
            await self._store.write(self._settle(subscription, done))

    def extend(self, subscription: ActiveSubscription, ack_ids: Iterable[str], *, lease_s: float) -> None:
        """Let leases end `lease_s` from now; 0 gives the messages back.

        Raises:
            InvalidArgument: an ack id is none of this subscription's; nothing was changed.
        """
        now_s = self._clock.monotonic_s()
        for ack in self._decode(subscription, ack_ids):
            subscription.queue.extend(ack.message_id, ack.generation, now_s=now_s, lease_s=lease_s)
        self.watch(subscription)
        if lease_s == 0:
            subscription.notify()

    # Time

    def watch(self, subscription: ActiveSubscription) -> None:
        """See to it that the subscription's next timer is not missed."""
        at_s = subscription.queue.next_expiry_s()
        if at_s is None or (subscription.alarm_s is not None and subscription.alarm_s <= at_s):
            return
        subscription.alarm_s = at_s
        heapq.heappush(self._alarms, (at_s, subscription.number))
        if self._alarms[0] == (at_s, subscription.number):
            self.on_alarm()

    def next_alarm_s(self) -> float | None:
        """Return when `tick` has something to do, on the monotonic clock; None: nothing is leased."""
        return self._alarms[0][0] if self._alarms else None

    def tick(self) -> None:
        """End the leases and rests whose time has come."""
        now_s = self._clock.monotonic_s()
        while self._alarms and self._alarms[0][0] <= now_s:
            at_s, number = heapq.heappop(self._alarms)
            subscription = self._by_number.get(number)
            if subscription is None or subscription.alarm_s != at_s:
                continue
            subscription.alarm_s = None
            subscription.queue.expire(now_s=now_s)
            subscription.notify()
            self.watch(subscription)

    async def sweep(self) -> None:
        """Delete expired subscriptions and messages that were kept long enough; save who was active."""
        now_s = self._now_s()
        unowed, self._unowed = self._unowed, []
        writes: list[Write] = [Write.messages_gone(unowed)] if unowed else []
        oldest_of_all_s = next((held.published_s for held in self._messages.values()), now_s)
        for subscription in list(self._by_number.values()):
            if subscription.has_expired(now_s):
                log.info("Subscription %s has expired: it was not used", subscription.name)
                writes += self._detach(subscription)
                continue
            oldest_s = now_s - seconds_of(subscription.body.message_retention_duration)
            if oldest_of_all_s >= oldest_s:
                continue
            if subscription.streams:
                subscription.active_s = now_s
            if subscription.active_s > subscription.saved_active_s:
                writes.append(_saved(subscription))
            stale = [m for m in subscription.queue.message_ids() if self._messages[m].published_s < oldest_s]
            for message_id in stale:
                subscription.queue.discard(message_id)
            if stale:
                log.info(
                    "Subscription %s: %d messages were not acknowledged in time",
                    subscription.name,
                    len(stale),
                )
                writes += self._settle(subscription, stale)
        if writes:
            await self._store.write(writes)

    def end_streams(self) -> None:
        """Tell whoever waits for messages that the broker stops."""
        for subscription in self._by_number.values():
            subscription.end(Unavailable("The broker is stopping; try again."))

    # Inside

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise NotFound(f"Topic not found: Resource not found (resource={_id(name)}).")
        return topic

    def _attach(self, subscription: ActiveSubscription) -> None:
        self._subscriptions[subscription.name] = subscription
        self._by_number[subscription.number] = subscription
        topic = self._topics.get(subscription.body.topic)
        if topic is not None:
            topic.subscriptions[subscription.name] = subscription
            topic.index.add(subscription, subscription.filter)

    def _detach(self, subscription: ActiveSubscription) -> list[Write]:
        """Take a subscription out of memory; return what must be written."""
        del self._subscriptions[subscription.name]
        del self._by_number[subscription.number]
        topic = self._topics.get(subscription.body.topic)
        if topic is not None and topic.subscriptions.get(subscription.name) is subscription:
            del topic.subscriptions[subscription.name]
            topic.index.remove(subscription, subscription.filter)
        subscription.delete()
        backlog = list(subscription.queue.message_ids())
        writes = [
            Write.resource_gone("subscription", subscription.name),
            Write.all_deliveries_gone(subscription.number),
        ]
        return writes + self._forget(backlog)

    def _deliver(self, routed: Iterable[tuple[int, HeldMessage, list[ActiveSubscription]]]) -> None:
        touched: set[ActiveSubscription] = set()
        for message_id, held, wanted in routed:
            for subscription in wanted:
                if subscription.is_deleted:  # while the message was written
                    continue
                held.owed += 1
                subscription.queue.add(message_id, held.size_bytes)
                touched.add(subscription)
            if held.owed:
                self._messages[message_id] = held
            else:
                self._unowed.append(message_id)
        for subscription in touched:
            subscription.notify()

    def _settle(self, subscription: ActiveSubscription, message_ids: Sequence[int]) -> list[Write]:
        """Forget that messages are owed to a subscription; return what must be written."""
        gone = Write.deliveries_gone((subscription.number, message_id) for message_id in message_ids)
        return [gone, *self._forget(message_ids)]

    def _forget(self, message_ids: Iterable[int]) -> list[Write]:
        unowed = []
        for message_id in message_ids:
            held = self._messages[message_id]
            held.owed -= 1
            if held.owed == 0:
                del self._messages[message_id]
                unowed.append(message_id)
        return [Write.messages_gone(unowed)] if unowed else []

    def _decode(self, subscription: ActiveSubscription, ack_ids: Iterable[str]) -> list[AckId]:
        decoded = []
        for text in ack_ids:
            ack = decode_ack_id(text)
            if ack.subscription != subscription.number:
                raise InvalidArgument(
                    f"You have passed an invalid ack ID to the service (ack_id={text[:100]})."
                )
            decoded.append(ack)
        if not decoded:
            raise InvalidArgument("You have not specified an ack ID in the request.")
        return decoded


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _saved(subscription: ActiveSubscription) -> Write:
    subscription.saved_active_s = subscription.active_s
    return Write.resource(
        "subscription",
        subscription.name,
        subscription.body.SerializeToString(),
        number=subscription.number,
        active_s=subscription.active_s,
    )
