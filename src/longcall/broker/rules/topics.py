"""Topics as they are created and updated. Rests on the comments of `pubsub.proto`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from longcall.broker.errors import Unimplemented
from longcall.broker.protos import Topic
from longcall.broker.rules.durations import check_retention
from longcall.broker.rules.masks import masked_update
from longcall.broker.rules.names import check_labels, check_name
from longcall.broker.wire import Wire

__all__ = ["DELETED_TOPIC", "checked_topic", "updated_topic"]

DELETED_TOPIC: Final = "_deleted-topic_"

_MUTABLE: Final = ("labels", "message_retention_duration", "schema_settings")


def checked_topic(topic: Topic) -> Topic:
    """Return the topic as it is created.

    Raises:
        InvalidArgument: names the field.
        Unimplemented: it asks for what this broker cannot do.
    """
    check_name(topic.name, "topics")
    created = Wire.Topic()
    created.CopyFrom(topic)
    _check_values(created)
    created.state = 1  # ACTIVE
    return created


def updated_topic(topic: Topic, update: Topic, paths: Sequence[str]) -> Topic:
    """Return a topic with the masked fields of `update`.

    Raises:
        InvalidArgument: the mask is empty, or names what cannot change or is not there.
    """
    changed = masked_update(topic, update, paths, mutable=_MUTABLE, fixed=("name",))
    _check_values(changed)
    return changed


def _check_values(topic: Topic) -> None:
    check_labels(topic.labels)
    if topic.HasField("message_retention_duration"):
        check_retention(topic.message_retention_duration)
    if topic.HasField("ingestion_data_source_settings"):
        raise Unimplemented("ingestion_data_source_settings is not available in this broker.")
    if topic.message_transforms:
        raise Unimplemented("message_transforms is not available in this broker.")
