"""The messages of `google/pubsub/v1` as a type checker sees them: those fields that the broker touches.

google-cloud-pubsub makes the classes while it is imported, so that no checker knows them;
`longcall.broker.wire` has them. What a field means is said in `pubsub.proto` and `schema.proto`.
"""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence, Sequence
from typing import Any, Protocol, Self, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = [
    "AcknowledgeRequest",
    "CompiledProtoSchema",
    "Confirmation",
    "CreateSnapshotRequest",
    "DeadLetterPolicy",
    "ExpirationPolicy",
    "ListOfTopicRequest",
    "ListRequest",
    "ListSchemasRequest",
    "MessageClass",
    "ModifyAckDeadlineRequest",
    "ModifyPushConfigRequest",
    "OfSnapshot",
    "OfSubscription",
    "OfTopic",
    "PageRequest",
    "ProtoMessage",
    "PublishRequest",
    "PubsubMessage",
    "PullRequest",
    "PushConfig",
    "ReceivedMessage",
    "RetryPolicy",
    "Schema",
    "SchemaRequest",
    "SchemaSettings",
    "SeekRequest",
    "Snapshot",
    "StreamProperties",
    "StreamingPullRequest",
    "StreamingPullResponse",
    "Subscription",
    "Topic",
    "UpdateSnapshotRequest",
    "UpdateSubscriptionRequest",
    "UpdateTopicRequest",
    "ValidateMessageRequest",
]

_T_co = TypeVar("_T_co", covariant=True)


class ProtoMessage(Protocol):
    """What every message can do, as the documentation of protobuf has it."""

    DESCRIPTOR: Any

    def ByteSize(self) -> int:
        """Return the size as it is sent."""
        ...

    def Clear(self) -> None:
        """Unset every field."""
        ...

    def ClearField(self, name: str, /) -> None:
        """Unset a field."""
        ...

    def CopyFrom(self, other: Self, /) -> None:
        """Become a copy of another."""
        ...

    def HasField(self, name: str, /) -> bool:
        """Tell whether a message in it is set."""
        ...

    def SerializeToString(self) -> bytes:
        """Return it as it is sent."""
        ...

    def SetInParent(self) -> None:
        """Count as set."""
        ...

    def WhichOneof(self, name: str, /) -> str | None:
        """Return which of several fields is set."""
        ...


class MessageClass(Protocol[_T_co]):
    """A class of messages."""

    DESCRIPTOR: Any

    def __call__(self, **fields: object) -> _T_co:
        """Make a message."""
        ...

    def FromString(self, body: bytes, /) -> _T_co:
        """Read a message."""
        ...


# Resources, and what is in them


class SchemaSettings(ProtoMessage, Protocol):
    """Which schema a topic has."""

    schema: str
    encoding: int
    first_revision_id: str
    last_revision_id: str


class Topic(ProtoMessage, Protocol):
    """A topic."""

    name: str
    labels: MutableMapping[str, str]
    message_retention_duration: Duration
    schema_settings: SchemaSettings
    state: int
    message_transforms: Sequence[ProtoMessage]


class PushConfig(ProtoMessage, Protocol):
    """Where messages are pushed to; nowhere, if it is empty."""

    push_endpoint: str
    attributes: MutableMapping[str, str]
    no_wrapper: _NoWrapper


class _NoWrapper(ProtoMessage, Protocol):
    write_metadata: bool


class ExpirationPolicy(ProtoMessage, Protocol):
    """How long a subscription lives unused."""

    ttl: Duration


class DeadLetterPolicy(ProtoMessage, Protocol):
    """Where messages go that fail too often."""

    dead_letter_topic: str
    max_delivery_attempts: int


class RetryPolicy(ProtoMessage, Protocol):
    """How long messages rest after a failure."""

    minimum_backoff: Duration
    maximum_backoff: Duration


class Subscription(ProtoMessage, Protocol):
    """A subscription."""

    name: str
    topic: str
    filter: str
    labels: MutableMapping[str, str]
    ack_deadline_seconds: int
    retain_acked_messages: bool
    message_retention_duration: Duration
    topic_message_retention_duration: Duration
    enable_message_ordering: bool
    enable_exactly_once_delivery: bool
    expiration_policy: ExpirationPolicy
    dead_letter_policy: DeadLetterPolicy
    retry_policy: RetryPolicy
    push_config: PushConfig
    detached: bool
    state: int
    message_transforms: Sequence[ProtoMessage]


class Snapshot(ProtoMessage, Protocol):
    """A snapshot."""

    name: str
    topic: str
    expire_time: Timestamp
    labels: MutableMapping[str, str]


class CompiledProtoSchema(ProtoMessage, Protocol):
    """Descriptors that a client has compiled."""

    compiled_bytes: bytes
    root_message: str


class Schema(ProtoMessage, Protocol):
    """A revision of a schema."""

    name: str
    type_: int
    definition: str
    compiled_proto_schema: CompiledProtoSchema
    revision_id: str
    revision_create_time: Timestamp


class PubsubMessage(ProtoMessage, Protocol):
    """A message that is published."""

    data: bytes
    attributes: MutableMapping[str, str]
    message_id: str
    publish_time: Timestamp
    ordering_key: str


# Requests, and parts of responses. Those with the same fields are one.


class OfTopic(Protocol):
    """A request that names a topic."""

    topic: str


class OfSubscription(Protocol):
    """A request that names a subscription."""

    subscription: str


class OfSnapshot(Protocol):
    """A request that names a snapshot."""

    snapshot: str


class PageRequest(Protocol):
    """A request for a page of something."""

    page_size: int
    page_token: str


class ListRequest(PageRequest, Protocol):
    """A request for what a project has."""

    project: str


class ListOfTopicRequest(PageRequest, OfTopic, Protocol):
    """A request for what a topic has."""


class UpdateTopicRequest(Protocol):
    """A change of a topic."""

    topic: Topic
    update_mask: FieldMask


class UpdateSubscriptionRequest(Protocol):
    """A change of a subscription."""

    subscription: Subscription
    update_mask: FieldMask


class UpdateSnapshotRequest(Protocol):
    """A change of a snapshot."""

    snapshot: Snapshot
    update_mask: FieldMask


class ModifyPushConfigRequest(OfSubscription, Protocol):
    """A change between push and pull."""

    push_config: PushConfig


class CreateSnapshotRequest(ProtoMessage, OfSubscription, Protocol):
    """A wish for a snapshot."""

    name: str
    labels: MutableMapping[str, str]


class SeekRequest(ProtoMessage, OfSubscription, Protocol):
    """Where a subscription goes to."""

    time: Timestamp
    snapshot: str


class PublishRequest(ProtoMessage, OfTopic, Protocol):
    """Messages to publish."""

    messages: Sequence[PubsubMessage]


class PullRequest(OfSubscription, Protocol):
    """A wish for messages."""

    max_messages: int
    return_immediately: bool


class AcknowledgeRequest(OfSubscription, Protocol):
    """Deliveries that are done with."""

    ack_ids: Sequence[str]


class ModifyAckDeadlineRequest(AcknowledgeRequest, Protocol):
    """Deliveries that take longer, or are given back."""

    ack_deadline_seconds: int


class StreamingPullRequest(AcknowledgeRequest, Protocol):
    """What a client says on a stream."""

    stream_ack_deadline_seconds: int
    modify_deadline_seconds: Sequence[int]
    modify_deadline_ack_ids: Sequence[str]
    max_outstanding_messages: int
    max_outstanding_bytes: int


class Confirmation(Protocol):
    """What became of ack ids that came on a stream."""

    ack_ids: MutableSequence[str]
    invalid_ack_ids: MutableSequence[str]


class StreamProperties(Protocol):
    """What a stream is told of its subscription."""

    exactly_once_delivery_enabled: bool
    message_ordering_enabled: bool


class ReceivedMessage(ProtoMessage, Protocol):
    """A delivery."""

    ack_id: str
    message: PubsubMessage
    delivery_attempt: int


class StreamingPullResponse(ProtoMessage, Protocol):
    """What a stream brings."""

    received_messages: MutableSequence[ReceivedMessage]
    acknowledge_confirmation: Confirmation
    modify_ack_deadline_confirmation: Confirmation
    subscription_properties: StreamProperties


class SchemaRequest(Protocol):
    """A request about schemas; each has some of these fields."""

    parent: str
    name: str
    schema_id: str
    schema: Schema
    revision_id: str
    view: int


class ListSchemasRequest(PageRequest, SchemaRequest, Protocol):
    """A request for schemas or revisions."""


class ValidateMessageRequest(ProtoMessage, SchemaRequest, Protocol):
    """A message that may be one of a schema."""

    message: bytes
    encoding: int
