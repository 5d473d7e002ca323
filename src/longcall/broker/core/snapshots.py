"""Snapshots: create, change, list, delete; and seek, to one of them or to a time.

Rests on https://cloud.google.com/pubsub/docs/replay-overview.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from longcall.broker.core.snapshot import ActiveSnapshot
from longcall.broker.core.state import BrokerState, refuse_existing
from longcall.broker.core.store import Write
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.core.subscriptions import Subscriptions
from longcall.broker.errors import FailedPrecondition
from longcall.broker.protos import CreateSnapshotRequest, Snapshot
from longcall.broker.rules.names import project_of
from longcall.broker.rules.snapshots import checked_snapshot, snapshot_lifetime_s, updated_snapshot
from longcall.broker.wire import Wire

__all__ = ["Snapshots"]


class Snapshots:
    """The snapshots of a broker. Changes return when they are durable."""

    def __init__(self, state: BrokerState, subscriptions: Subscriptions) -> None:
        self._state = state
        self._subscriptions = subscriptions

    async def create(self, request: CreateSnapshotRequest) -> Snapshot:
        """Keep what a subscription has not acknowledged, and all that its topic is sent from now on.

        A request without a name is given one.

        Raises:
            NotFound: there is no such subscription.
            FailedPrecondition: it would expire within an hour, or the subscription has no topic any more.
        """
        state = self._state
        if not request.name:
            named = Wire.CreateSnapshotRequest()
            named.CopyFrom(request)
            project = project_of(request.subscription)
            named.name = f"projects/{project}/snapshots/longcall-{secrets.token_hex(8)}"
            request = named
        subscription = state.subscription(request.subscription)
        topic = state.topics.get(subscription.body.topic)
        if topic is None or subscription.body.detached:
            raise FailedPrecondition("The subscription has no topic any more.")
        now_s = state.now_s()
        unacked = sorted(subscription.queue.message_ids())
        age_s = now_s - state.messages[unacked[0]].published_s if unacked else 0.0
        body = checked_snapshot(
            request, topic=subscription.body.topic, expire_s=now_s + snapshot_lifetime_s(age_s)
        )
        former = state.snapshots.get(body.name)
        writes = self.remove(former) if former is not None and former.has_expired(now_s) else []
        refuse_existing(body.name, state.snapshots)
        snapshot = ActiveSnapshot(next(state.serials), body)
        state.messages.hold(unacked)
        snapshot.message_ids = dict.fromkeys(unacked)
        state.snapshots[body.name] = topic.snapshots[body.name] = snapshot
        held = Write.deliveries((snapshot.number, message_id) for message_id in unacked)
        await state.store.write([*writes, _saved(snapshot), held])
        return body

    async def update(self, update: Snapshot, paths: Sequence[str]) -> Snapshot:
        """Change the masked fields."""
        snapshot = self._state.snapshot(update.name)
        snapshot.body = updated_snapshot(snapshot.body, update, paths, now_s=self._state.now_s())
        await self._state.store.write([_saved(snapshot)])
        return snapshot.body

    def list(self, project: str) -> list[Any]:
        """Return the bodies of a project's snapshots, by name."""
        now_s = self._state.now_s()
        return [
            snapshot.body
            for name, snapshot in sorted(self._state.snapshots.items())
            if project_of(name) == project and not snapshot.has_expired(now_s)
        ]

    async def delete(self, name: str) -> None:
        """Delete a snapshot; what only it has kept goes with it."""
        await self._state.store.write(self.remove(self._state.snapshot(name)))

    def remove(self, snapshot: ActiveSnapshot) -> Sequence[Write]:
        """Take a snapshot out of memory; return what must be written."""
        del self._state.snapshots[snapshot.name]
        topic = self._state.topics.get(snapshot.body.topic)
        if topic is not None:
            topic.snapshots.pop(snapshot.name, None)
        snapshot.is_deleted = True
        return [
            Write.resource_gone("snapshot", snapshot.name),
            Write.all_deliveries_gone(snapshot.number),
            *self._state.messages.release(snapshot.message_ids),
        ]

    async def seek_to_snapshot(self, subscription: ActiveSubscription, name: str) -> None:
        """Let a subscription have not acknowledged what the snapshot says, and nothing else.

        Raises:
            NotFound: there is no such snapshot.
            FailedPrecondition: it is of another topic.
        """
        snapshot = self._state.snapshot(name)
        if snapshot.body.topic != subscription.body.topic:
            raise FailedPrecondition("The snapshot and the subscription are of different topics.")
        await self._seek(subscription, self._wanted(subscription, snapshot.message_ids))

    async def seek_to_time(self, subscription: ActiveSubscription, time_s: float) -> None:
        """Count as acknowledged what was published before a time, and as not what was published after.

        Acknowledged messages come back as far as they are retained, by the subscription or by its topic.
        """
        topic = self._state.topics.get(subscription.body.topic)
        kept = {*subscription.queue.message_ids(), *subscription.retained}
        if topic is not None:
            kept.update(self._wanted(subscription, topic.retained))
        messages = self._state.messages
        await self._seek(subscription, {i for i in kept if messages[i].published_s >= time_s})

    async def _seek(self, subscription: ActiveSubscription, unacked: set[int]) -> None:
        """Let the backlog of a subscription be this and nothing else."""
        backlog = set(subscription.queue.message_ids())
        back = sorted(unacked - backlog)
        new = [message_id for message_id in back if message_id not in subscription.retained]
        self._state.messages.hold(new)
        writes = [
            *self._subscriptions.drop(subscription, sorted(backlog - unacked)),
            Write.deliveries((subscription.number, message_id) for message_id in back),
        ]
        for message_id in back:
            subscription.retained.pop(message_id, None)
            subscription.receive(message_id, self._state.messages[message_id])
        subscription.queue.restart()
        subscription.notify()
        await self._state.store.write(writes)

    def _wanted(self, subscription: ActiveSubscription, message_ids: dict[int, None]) -> set[int]:
        messages = self._state.messages
        return {i for i in message_ids if subscription.filter.matches(messages[i].body.attributes)}


def _saved(snapshot: ActiveSnapshot) -> Write:
    body = snapshot.body.SerializeToString()
    return Write.resource("snapshot", snapshot.name, body, number=snapshot.number)
