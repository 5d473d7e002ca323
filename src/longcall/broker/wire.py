"""The protocol buffers of the Pub/Sub API, as plain protobuf classes.

proto-plus wrappers cost a copy for each field that is touched, so the request
path uses what is below them. google-cloud-pubsub brings the definitions.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.types import pubsub as _types
from google.pubsub_v1.types import schema as _schema_types

from longcall.broker import protos
from longcall.broker.protos import MessageClass

__all__ = ["Code", "Duration", "Empty", "Wire", "seconds_of", "set_seconds"]


Code: TypeAlias = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
"""The statuses with which a request can be refused."""


_Class: TypeAlias = MessageClass[protos.ProtoMessage]


class Wire:
    """The message classes by their names in `pubsub.proto` and `schema.proto` of `google/pubsub/v1`."""

    AcknowledgeRequest: Final[_Class] = _types.AcknowledgeRequest.pb()
    CommitSchemaRequest: Final[_Class] = _schema_types.CommitSchemaRequest.pb()
    CreateSchemaRequest: Final[_Class] = _schema_types.CreateSchemaRequest.pb()
    CreateSnapshotRequest: Final[MessageClass[protos.CreateSnapshotRequest]] = (
        _types.CreateSnapshotRequest.pb()
    )
    DeleteSchemaRequest: Final[_Class] = _schema_types.DeleteSchemaRequest.pb()
    DeleteSchemaRevisionRequest: Final[_Class] = _schema_types.DeleteSchemaRevisionRequest.pb()
    DeleteSnapshotRequest: Final[_Class] = _types.DeleteSnapshotRequest.pb()
    DeleteSubscriptionRequest: Final[_Class] = _types.DeleteSubscriptionRequest.pb()
    DeleteTopicRequest: Final[_Class] = _types.DeleteTopicRequest.pb()
    DetachSubscriptionRequest: Final[_Class] = _types.DetachSubscriptionRequest.pb()
    DetachSubscriptionResponse: Final[_Class] = _types.DetachSubscriptionResponse.pb()
    GetSchemaRequest: Final[_Class] = _schema_types.GetSchemaRequest.pb()
    GetSnapshotRequest: Final[_Class] = _types.GetSnapshotRequest.pb()
    GetSubscriptionRequest: Final[_Class] = _types.GetSubscriptionRequest.pb()
    GetTopicRequest: Final[_Class] = _types.GetTopicRequest.pb()
    ListSchemaRevisionsRequest: Final[_Class] = _schema_types.ListSchemaRevisionsRequest.pb()
    ListSchemaRevisionsResponse: Final[_Class] = _schema_types.ListSchemaRevisionsResponse.pb()
    ListSchemasRequest: Final[_Class] = _schema_types.ListSchemasRequest.pb()
    ListSchemasResponse: Final[_Class] = _schema_types.ListSchemasResponse.pb()
    ListSnapshotsRequest: Final[_Class] = _types.ListSnapshotsRequest.pb()
    ListSnapshotsResponse: Final[_Class] = _types.ListSnapshotsResponse.pb()
    ListSubscriptionsRequest: Final[_Class] = _types.ListSubscriptionsRequest.pb()
    ListSubscriptionsResponse: Final[_Class] = _types.ListSubscriptionsResponse.pb()
    ListTopicSnapshotsRequest: Final[_Class] = _types.ListTopicSnapshotsRequest.pb()
    ListTopicSnapshotsResponse: Final[_Class] = _types.ListTopicSnapshotsResponse.pb()
    ListTopicSubscriptionsRequest: Final[_Class] = _types.ListTopicSubscriptionsRequest.pb()
    ListTopicSubscriptionsResponse: Final[_Class] = _types.ListTopicSubscriptionsResponse.pb()
    ListTopicsRequest: Final[_Class] = _types.ListTopicsRequest.pb()
    ListTopicsResponse: Final[_Class] = _types.ListTopicsResponse.pb()
    ModifyAckDeadlineRequest: Final[_Class] = _types.ModifyAckDeadlineRequest.pb()
    ModifyPushConfigRequest: Final[_Class] = _types.ModifyPushConfigRequest.pb()
    PublishRequest: Final[MessageClass[protos.PublishRequest]] = _types.PublishRequest.pb()
    PublishResponse: Final[_Class] = _types.PublishResponse.pb()
    PubsubMessage: Final[MessageClass[protos.PubsubMessage]] = _types.PubsubMessage.pb()
    PullRequest: Final[_Class] = _types.PullRequest.pb()
    PullResponse: Final[_Class] = _types.PullResponse.pb()
    ReceivedMessage: Final[MessageClass[protos.ReceivedMessage]] = _types.ReceivedMessage.pb()
    RollbackSchemaRequest: Final[_Class] = _schema_types.RollbackSchemaRequest.pb()
    Schema: Final[MessageClass[protos.Schema]] = _schema_types.Schema.pb()
    SeekRequest: Final[_Class] = _types.SeekRequest.pb()
    SeekResponse: Final[_Class] = _types.SeekResponse.pb()
    Snapshot: Final[MessageClass[protos.Snapshot]] = _types.Snapshot.pb()
    StreamingPullRequest: Final[_Class] = _types.StreamingPullRequest.pb()
    StreamingPullResponse: Final[MessageClass[protos.StreamingPullResponse]] = (
        _types.StreamingPullResponse.pb()
    )
    Subscription: Final[MessageClass[protos.Subscription]] = _types.Subscription.pb()
    Topic: Final[MessageClass[protos.Topic]] = _types.Topic.pb()
    UpdateSnapshotRequest: Final[_Class] = _types.UpdateSnapshotRequest.pb()
    UpdateSubscriptionRequest: Final[_Class] = _types.UpdateSubscriptionRequest.pb()
    UpdateTopicRequest: Final[_Class] = _types.UpdateTopicRequest.pb()
    ValidateMessageRequest: Final[_Class] = _schema_types.ValidateMessageRequest.pb()
    ValidateMessageResponse: Final[_Class] = _schema_types.ValidateMessageResponse.pb()
    ValidateSchemaRequest: Final[_Class] = _schema_types.ValidateSchemaRequest.pb()
    ValidateSchemaResponse: Final[_Class] = _schema_types.ValidateSchemaResponse.pb()


def seconds_of(duration: Duration) -> float:
    """Return a Duration in seconds."""
    return float(duration.seconds) + duration.nanos / 1e9


def set_seconds(duration: Duration, seconds: float) -> None:
    """Set a Duration."""
    duration.seconds = int(seconds)
    duration.nanos = round((seconds - int(seconds)) * 1e9)
