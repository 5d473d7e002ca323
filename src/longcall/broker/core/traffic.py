"""What happens to messages: publish, acknowledge, extend, set aside."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from longcall.broker.core.ack_ids import AckId, decode_ack_id
from longcall.broker.core.messages import HeldMessage, Holder
from longcall.broker.core.schema_checks import SchemaChecks
from longcall.broker.core.state import BrokerState
from longcall.broker.core.store import Write
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.core.subscriptions import Subscriptions
from longcall.broker.core.timers import Timers
from longcall.broker.core.topic import ActiveTopic
from longcall.broker.errors import InvalidArgument
from longcall.broker.protos import PubsubMessage
from longcall.broker.rules.dead_letters import dead_letter
from longcall.broker.rules.messages import check_publish
from longcall.broker.wire import Wire

__all__ = ["Traffic"]

log = logging.getLogger(__name__)

_UNTIL_THE_NEXT_S: Final = 3600.0


class _Routed(NamedTuple):
    """A message on its way into the store."""

    message_id: int
    held: HeldMessage
    receivers: list[Holder]


class Traffic:
    """The messages of a broker."""

    def __init__(
        self, state: BrokerState, timers: Timers, subscriptions: Subscriptions, schemas: SchemaChecks
    ) -> None:
        self._state = state
        self._schemas = schemas
        self._subscriptions = subscriptions
        self._timers = timers
        self._held_back: dict[ActiveSubscription, int] = {}  # by a reorder, until the next message comes

    async def publish(
        self, topic_name: str, messages: Sequence[PubsubMessage], *, request_bytes: int
    ) -> list[str]:
        """Store messages for every subscription whose filter matches, then deliver; return their ids.

        Cancelling stops the wait, not the publish: what is stored is delivered.

        Raises:
            NotFound: there is no such topic.
            InvalidArgument: a message or the request is too large, or not well-formed, or not of the
                topic's schema; none was published.
        """
        topic = self._state.topic(topic_name)
        check_publish(messages, request_bytes=request_bytes)
        if topic.body.HasField("schema_settings"):
            messages = await self._schemas.stamped(topic.body.schema_settings, messages)
            topic = self._state.topic(topic_name)  # it may have gone meanwhile
        ids, routed = self._route(topic, messages)
        if routed:
            await self._state.store.write(
                _stored(routed), then=partial(self._published, topic_name, ids, messages, routed)
            )
        else:
            self._published(topic_name, ids, messages, routed)
        return ids

    def message(self, message_id: int) -> HeldMessage:
        """Return a message that is leased."""
        return self._state.messages[message_id]

    async def acknowledge(self, subscription: ActiveSubscription, ack_ids: Sequence[str]) -> list[str]:
        """Drop deliveries for good. A repeat does nothing.

        Returns:
            With exactly-once delivery, the ack ids that were malformed, late or superseded. Without, none:
            a late or superseded one counts, and one of a message that is gone is ignored.

        Raises:
            InvalidArgument: without exactly-once delivery, an ack id is none of this subscription's;
                nothing was acknowledged.
        """
        now_s = self._state.clock.monotonic_s()
        invalid: list[str] = []
        done: list[int] = []
        for text, ack in self._decoded(subscription, ack_ids):
            if ack is None:
                invalid.append(text)
                continue
            outcome = subscription.queue.acknowledge(ack.message_id, ack.serial, now_s=now_s)
            done += outcome.settled
            if not outcome.valid:
                invalid.append(text)
        for message_id in done:
            self._state.observer.note("acknowledged", subscription.name, message_id)
        subscription.notify()
        if done or subscription.is_exactly_once:  # also for a repeat: what it confirms must be durable
            await self._state.store.write(self._subscriptions.settle(subscription, done))
        return invalid

    def extend(
        self, subscription: ActiveSubscription, ack_ids: Sequence[str], *, lease_s: float
    ) -> list[str]:
        """Let leases end `lease_s` from now; 0 gives the messages back.

        Returns:
            With exactly-once delivery, the ack ids that were malformed, late or superseded; without, none.

        Raises:
            InvalidArgument: without exactly-once delivery, an ack id is none of this subscription's;
                nothing was changed.
        """
        now_s = self._state.clock.monotonic_s()
        invalid = []
        for text, ack in self._decoded(subscription, ack_ids):
            if ack is None or not subscription.queue.extend(
                ack.message_id, ack.serial, now_s=now_s, lease_s=lease_s
            ):
                invalid.append(text)
            elif lease_s == 0:
                self._state.observer.note("nacked", subscription.name, ack.message_id)
        self.set_aside(subscription)
        self._timers.watch(subscription)
        if lease_s == 0:
            subscription.notify()
        return invalid if subscription.is_exactly_once else []

    def set_aside(self, subscription: ActiveSubscription) -> None:
        """Forward messages that have failed too often to the dead-letter topic, in one transaction each."""
        for message_id, attempts in subscription.queue.take_exhausted():
            policy = subscription.body.dead_letter_policy
            topic = self._state.topics.get(policy.dead_letter_topic)
            if topic is None:
                now_s = self._state.clock.monotonic_s()
                subscription.queue.revive(message_id, now_s=now_s)
                continue
            log.info(
                "Subscription %s: message %s has failed %d times and goes to %s",
                subscription.name,
                message_id,
                attempts,
                policy.dead_letter_topic,
            )
            self._state.observer.note("dead_lettered", subscription.name, message_id)
            letter = dead_letter(self.message(message_id).body, subscription.name, attempts)
            ids, routed = self._route(topic, [letter])
            writes = [*_stored(routed), *self._subscriptions.drop(subscription, [message_id])]
            self._state.store.submit(
                writes, then=partial(self._published, policy.dead_letter_topic, ids, [letter], routed)
            )

    def _route(
        self, topic: ActiveTopic, messages: Sequence[PubsubMessage]
    ) -> tuple[list[str], list[_Routed]]:
        """Give messages their ids and receivers. One that nobody receives is not kept."""
        now_s = self._state.now_s()
        ids, routed = [], []
        for message in messages:
            message_id = next(self._state.serials)
            ids.append(str(message_id))
            receivers = self._spared(message_id, topic.receivers(message.attributes))
            if not receivers:
                continue
            body = Wire.PubsubMessage()
            body.CopyFrom(message)
            body.message_id = str(message_id)
            body.publish_time.FromNanoseconds(round(now_s * 1e9))
            routed.append(_Routed(message_id, HeldMessage(body, body.ByteSize(), now_s), receivers))
        return ids, routed

    def _published(
        self,
        topic_name: str,
        ids: Sequence[str],
        messages: Sequence[PubsubMessage],
        routed: Sequence[_Routed],
    ) -> None:
        for message_id, message in zip(ids, messages, strict=True):
            self._state.observer.note("published", topic_name, int(message_id), message=message)
        self._deliver(routed)

    def _deliver(self, routed: Iterable[_Routed]) -> None:
        touched: set[ActiveSubscription] = set()
        for message_id, held, receivers in routed:
            for receiver in receivers:
                if receiver.is_deleted:  # while the message was written
                    continue
                held.holders += 1
                if isinstance(receiver, ActiveSubscription):
                    self._queue(receiver, message_id, held)
                    touched.add(receiver)
                else:
                    receiver.receive(message_id, held)
            self._state.messages.add(message_id, held)
        for subscription in touched:
            subscription.notify()

    def _spared(self, message_id: int, receivers: list[Holder]) -> list[Holder]:
        """Return the receivers that no test wants to go without the message."""
        state = self._state
        if not state.faults:
            return receivers
        spared = []
        for receiver in receivers:
            if isinstance(receiver, ActiveSubscription) and state.faults.striking(
                ["drop"], receiver.name, receiver.body.topic
            ):
                state.observer.note("dropped", receiver.name, message_id)
            else:
                spared.append(receiver)
        return spared

    def _queue(self, subscription: ActiveSubscription, message_id: int, held: HeldMessage) -> None:
        """Queue a message; as a test wants it, if one does."""
        faults, places = self._state.faults, (subscription.name, subscription.body.topic)
        fault = faults.striking(["duplicate", "delay", "reorder"], *places) if faults else None
        passed_by = self._held_back.pop(subscription, None)
        if fault is None:
            subscription.receive(message_id, held)
        elif fault.kind == "duplicate":
            subscription.receive(message_id, held, copies=1)
        else:
            delay_s = fault.delay_s if fault.kind == "delay" else _UNTIL_THE_NEXT_S
            now_s = self._state.clock.monotonic_s()
            subscription.receive(message_id, held, delay_s=delay_s, now_s=now_s)
            self._timers.watch(subscription)
            if fault.kind == "reorder":
                self._held_back[subscription] = message_id
        if passed_by is not None:
            subscription.queue.hurry(passed_by)

    def _decoded(
        self, subscription: ActiveSubscription, ack_ids: Sequence[str]
    ) -> list[tuple[str, AckId | None]]:
        """Read ack ids; None for what is none of this subscription's, with exactly-once delivery."""
        if not ack_ids:
            raise InvalidArgument("You have not specified an ack ID in the request.")
        decoded: list[tuple[str, AckId | None]] = []
        for text in ack_ids:
            ack = decode_ack_id(text)
            if ack is not None and ack.subscription != subscription.number:
                ack = None
            if ack is None and not subscription.is_exactly_once:
                raise InvalidArgument(
                    f"You have passed an invalid ack ID to the service (ack_id={text[:100]})."
                )
            decoded.append((text, ack))
        return decoded


def _stored(routed: Sequence[_Routed]) -> list[Write]:
    return [
        Write.messages((each.message_id, each.held.body.SerializeToString()) for each in routed),
        Write.deliveries((holder.number, each.message_id) for each in routed for holder in each.receivers),
    ]
