"""Subscriptions: create, change, list, detach, delete."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from longcall.broker.core.state import BrokerState, refuse_existing
from longcall.broker.core.store import Write
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.protos import Subscription
from longcall.broker.rules.names import project_of
from longcall.broker.rules.subscriptions import (
    checked_subscription,
    updated_subscription,
    with_topic_retention,
)

__all__ = ["Subscriptions", "saved_subscription"]


class Subscriptions:
    """The subscriptions of a broker. Changes return when they are durable."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    async def create(self, wanted: Subscription) -> Subscription:
        """Create a subscription; what is published after the return will be in it.

        One without a name is given one, in the project of its topic.
        """
        body = checked_subscription(wanted, name_if_none=f"longcall-{secrets.token_hex(8)}")
        body = with_topic_retention(body, self._state.topic(body.topic).body)
        self._check_dead_letter_topic(body)
        state = self._state
        now_s = state.now_s()
        former = state.subscriptions.get(body.name)
        writes: list[Write] = []
        if former is not None and former.has_expired(now_s):
            writes += self.remove(former)
        refuse_existing(body.name, state.subscriptions)
        subscription = ActiveSubscription(next(state.serials), body, active_s=now_s, serials=state.serials)
        state.attach(subscription)
        await state.store.write([*writes, saved_subscription(subscription)])
        return body

    async def update(self, update: Subscription, paths: Sequence[str]) -> Subscription:
        """Change the masked fields."""
        subscription = self._state.subscription(update.name)
        changed = updated_subscription(subscription.body, update, paths)
        self._check_dead_letter_topic(changed)
        subscription.update(changed)
        self._state.on_subscription_change(subscription)
        subscription.notify()
        writes = [saved_subscription(subscription)]
        if not changed.retain_acked_messages:
            writes += self.release_retained(subscription, list(subscription.retained))
        await self._state.store.write(writes)
        return changed

    def list(self, project: str) -> list[Subscription]:
        """Return the bodies of a project's subscriptions, by name."""
        now_s = self._state.now_s()
        return [
            subscription.body
            for name, subscription in sorted(self._state.subscriptions.items())
            if project_of(name) == project and not subscription.has_expired(now_s)
        ]

    async def detach(self, name: str) -> None:
        """Cut a subscription off its topic: its backlog goes, its streams end. A repeat does nothing."""
        subscription = self._state.subscription(name)
        if subscription.body.detached:
            return
        writes = self._let_go(subscription)
        subscription.body.detached = True
        subscription.detach()
        self._state.on_subscription_change(subscription)
        await self._state.store.write([*writes, saved_subscription(subscription)])

    async def delete(self, name: str) -> None:
        """Delete a subscription and its backlog; its streams end."""
        await self._state.store.write(self.remove(self._state.subscription(name)))

    def remove(self, subscription: ActiveSubscription) -> Sequence[Write]:
        """Take a subscription out of memory; return what must be written."""
        del self._state.subscriptions[subscription.name]
        writes = self._let_go(subscription)
        subscription.delete()
        self._state.on_subscription_change(subscription)
        return [Write.resource_gone("subscription", subscription.name), *writes]

    def settle(self, subscription: ActiveSubscription, message_ids: Sequence[int]) -> Sequence[Write]:
        """Forget, or retain, what a subscription is done with; return what must be written."""
        if not message_ids:
            return []
        pairs = [(subscription.number, message_id) for message_id in message_ids]
        if subscription.body.retain_acked_messages:
            subscription.retained.update(dict.fromkeys(message_ids))
            return [Write.deliveries_acked(pairs)]
        return [Write.deliveries_gone(pairs), *self._state.messages.release(message_ids)]

    def drop(self, subscription: ActiveSubscription, message_ids: Iterable[int]) -> Sequence[Write]:
        """Count messages of the backlog as acknowledged; return what must be written."""
        done = [i for message_id in message_ids for i in subscription.queue.discard(message_id)]
        return self.settle(subscription, done)

    def release_retained(
        self, subscription: ActiveSubscription, message_ids: Sequence[int]
    ) -> Sequence[Write]:
        """Keep acknowledged messages no longer; return what must be written."""
        if not message_ids:
            return []
        for message_id in message_ids:
            del subscription.retained[message_id]
        gone = Write.deliveries_gone((subscription.number, message_id) for message_id in message_ids)
        return [gone, *self._state.messages.release(message_ids)]

    def _let_go(self, subscription: ActiveSubscription) -> Sequence[Write]:
        """Detach from the topic and release all messages; return what must be written."""
        topic = self._state.topics.get(subscription.body.topic)
        if topic is not None:
            topic.detach(subscription)
        held = [*subscription.queue.message_ids(), *subscription.retained]
        for message_id in held:
            subscription.queue.discard(message_id)
        subscription.retained.clear()
        return [Write.all_deliveries_gone(subscription.number), *self._state.messages.release(held)]

    def _check_dead_letter_topic(self, body: Subscription) -> None:
        if body.HasField("dead_letter_policy"):
            self._state.topic(body.dead_letter_policy.dead_letter_topic)


def saved_subscription(subscription: ActiveSubscription) -> Write:
    """Return what must be written after a change."""
    subscription.saved_active_s = subscription.active_s
    return Write.resource(
        "subscription",
        subscription.name,
        subscription.body.SerializeToString(),
        number=subscription.number,
        active_s=subscription.active_s,
    )
