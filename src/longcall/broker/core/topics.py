"""Topics: create, change, list, delete."""

from __future__ import annotations

from collections.abc import Sequence

from longcall.broker.core.schema_checks import SchemaChecks
from longcall.broker.core.state import BrokerState, refuse_existing
from longcall.broker.core.store import Write
from longcall.broker.core.subscriptions import saved_subscription
from longcall.broker.core.topic import ActiveTopic
from longcall.broker.protos import Topic
from longcall.broker.rules.names import project_of
from longcall.broker.rules.subscriptions import with_topic_retention
from longcall.broker.rules.topics import DELETED_TOPIC, checked_topic, updated_topic

__all__ = ["Topics", "saved_topic"]


class Topics:
    """The topics of a broker. Changes return when they are durable."""

    def __init__(self, state: BrokerState, schemas: SchemaChecks) -> None:
        self._state = state
        self._schemas = schemas

    async def create(self, wanted: Topic) -> Topic:
        """Create a topic; errors as `checked_topic`, and AlreadyExists."""
        body = checked_topic(wanted)
        if body.HasField("schema_settings"):
            self._schemas.check_settings(body.schema_settings)
        refuse_existing(body.name, self._state.topics)
        topic = ActiveTopic(next(self._state.serials), body)
        self._state.topics[body.name] = topic
        await self._state.store.write([saved_topic(topic)])
        return body

    def get(self, name: str) -> Topic:
        """Return a topic's body, or raise NotFound."""
        return self._state.topic(name).body

    async def update(self, update: Topic, paths: Sequence[str]) -> Topic:
        """Change the masked fields. A retention that is taken away lets go of what it held."""
        topic = self._state.topic(update.name)
        body = updated_topic(topic.body, update, paths)
        if body.HasField("schema_settings") and body.schema_settings != topic.body.schema_settings:
            self._schemas.check_settings(body.schema_settings)
        topic.body = body
        writes = [saved_topic(topic)]
        for subscription in topic.subscriptions.values():
            subscription.update(with_topic_retention(subscription.body, topic.body))
            writes.append(saved_subscription(subscription))
        if not topic.retains:
            writes += self._release(topic)
        await self._state.store.write(writes)
        return topic.body

    def list(self, project: str) -> list[Topic]:
        """Return the bodies of a project's topics, by name."""
        topics = sorted(self._state.topics.items())
        return [topic.body for name, topic in topics if project_of(name) == project]

    def subscription_names(self, name: str) -> Sequence[str]:
        """Return the names of a topic's subscriptions, sorted."""
        return sorted(self._state.topic(name).subscriptions)

    def snapshot_names(self, name: str) -> Sequence[str]:
        """Return the names of a topic's snapshots, sorted."""
        now_s = self._state.now_s()
        snapshots = self._state.topic(name).snapshots.values()
        return sorted(snapshot.name for snapshot in snapshots if not snapshot.has_expired(now_s))

    async def delete(self, name: str) -> None:
        """Delete a topic. Its subscriptions stay, with their backlog, on no topic; so do its snapshots."""
        topic = self._state.topic(name)
        del self._state.topics[name]
        topic.is_deleted = True
        writes = [Write.resource_gone("topic", name), *self._release(topic)]
        for subscription in topic.subscriptions.values():
            subscription.body.topic = DELETED_TOPIC
            writes.append(saved_subscription(subscription))
        for snapshot in topic.snapshots.values():
            snapshot.body.topic = DELETED_TOPIC
            body = snapshot.body.SerializeToString()
            writes.append(Write.resource("snapshot", snapshot.name, body, number=snapshot.number))
        await self._state.store.write(writes)

    def _release(self, topic: ActiveTopic) -> Sequence[Write]:
        released = list(topic.retained)
        topic.retained.clear()
        if not released:
            return []
        return [Write.all_deliveries_gone(topic.number), *self._state.messages.release(released)]


def saved_topic(topic: ActiveTopic) -> Write:
    """Return what must be written for a topic that is new or was changed."""
    return Write.resource("topic", topic.body.name, topic.body.SerializeToString(), number=topic.number)
