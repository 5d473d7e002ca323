"""The protocol buffers of the Pub/Sub API, as plain protobuf classes.

proto-plus wrappers cost a copy for each field that is touched, so the request
path uses what is below them. google-cloud-pubsub brings the definitions.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.types import pubsub as _types
from google.pubsub_v1.types import schema as _schema_types

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


class Wire:
    """The message classes by their names in `pubsub.proto` and `schema.proto` of `google/pubsub/v1`."""

    AcknowledgeRequest: Final[Any] = _types.AcknowledgeRequest.pb()
    CommitSchemaRequest: Final[Any] = _schema_types.CommitSchemaRequest.pb()
    CreateSchemaRequest: Final[Any] = _schema_types.CreateSchemaRequest.pb()
    CreateSnapshotRequest: Final[Any] = _types.CreateSnapshotRequest.pb()
    DeleteSchemaRequest: Final[Any] = _schema_types.DeleteSchemaRequest.pb()
    DeleteSchemaRevisionRequest: Final[Any] = _schema_types.DeleteSchemaRevisionRequest.pb()
    DeleteSnapshotRequest: Final[Any] = _types.DeleteSnapshotRequest.pb()
    DeleteSubscriptionRequest: Final[Any] = _types.DeleteSubscriptionRequest.pb()
    DeleteTopicRequest: Final[Any] = _types.DeleteTopicRequest.pb()
    DetachSubscriptionRequest: Final[Any] = _types.DetachSubscriptionRequest.pb()
    DetachSubscriptionResponse: Final[Any] = _types.DetachSubscriptionResponse.pb()
    GetSchemaRequest: Final[Any] = _schema_types.GetSchemaRequest.pb()
    GetSnapshotRequest: Final[Any] = _types.GetSnapshotRequest.pb()
    GetSubscriptionRequest: Final[Any] = _types.GetSubscriptionRequest.pb()
    GetTopicRequest: Final[Any] = _types.GetTopicRequest.pb()
    ListSchemaRevisionsRequest: Final[Any] = _schema_types.ListSchemaRevisionsRequest.pb()
    ListSchemaRevisionsResponse: Final[Any] = _schema_types.ListSchemaRevisionsResponse.pb()
    ListSchemasRequest: Final[Any] = _schema_types.ListSchemasRequest.pb()
    ListSchemasResponse: Final[Any] = _schema_types.ListSchemasResponse.pb()
    ListSnapshotsRequest: Final[Any] = _types.ListSnapshotsRequest.pb()
    ListSnapshotsResponse: Final[Any] = _types.ListSnapshotsResponse.pb()
    ListSubscriptionsRequest: Final[Any] = _types.ListSubscriptionsRequest.pb()
    ListSubscriptionsResponse: Final[Any] = _types.ListSubscriptionsResponse.pb()
    ListTopicSnapshotsRequest: Final[Any] = _types.ListTopicSnapshotsRequest.pb()
    ListTopicSnapshotsResponse: Final[Any] = _types.ListTopicSnapshotsResponse.pb()
    ListTopicSubscriptionsRequest: Final[Any] = _types.ListTopicSubscriptionsRequest.pb()
    ListTopicSubscriptionsResponse: Final[Any] = _types.ListTopicSubscriptionsResponse.pb()
    ListTopicsRequest: Final[Any] = _types.ListTopicsRequest.pb()
    ListTopicsResponse: Final[Any] = _types.ListTopicsResponse.pb()
    ModifyAckDeadlineRequest: Final[Any] = _types.ModifyAckDeadlineRequest.pb()
    ModifyPushConfigRequest: Final[Any] = _types.ModifyPushConfigRequest.pb()
    PublishRequest: Final[Any] = _types.PublishRequest.pb()
    PublishResponse: Final[Any] = _types.PublishResponse.pb()
    PubsubMessage: Final[Any] = _types.PubsubMessage.pb()
    PullRequest: Final[Any] = _types.PullRequest.pb()
    PullResponse: Final[Any] = _types.PullResponse.pb()
    ReceivedMessage: Final[Any] = _types.ReceivedMessage.pb()
    RollbackSchemaRequest: Final[Any] = _schema_types.RollbackSchemaRequest.pb()
    Schema: Final[Any] = _schema_types.Schema.pb()
    SeekRequest: Final[Any] = _types.SeekRequest.pb()
    SeekResponse: Final[Any] = _types.SeekResponse.pb()
    Snapshot: Final[Any] = _types.Snapshot.pb()
    StreamingPullRequest: Final[Any] = _types.StreamingPullRequest.pb()
    StreamingPullResponse: Final[Any] = _types.StreamingPullResponse.pb()
    Subscription: Final[Any] = _types.Subscription.pb()
    Topic: Final[Any] = _types.Topic.pb()
    UpdateSnapshotRequest: Final[Any] = _types.UpdateSnapshotRequest.pb()
    UpdateSubscriptionRequest: Final[Any] = _types.UpdateSubscriptionRequest.pb()
    UpdateTopicRequest: Final[Any] = _types.UpdateTopicRequest.pb()
    ValidateMessageRequest: Final[Any] = _schema_types.ValidateMessageRequest.pb()
    ValidateMessageResponse: Final[Any] = _schema_types.ValidateMessageResponse.pb()
    ValidateSchemaRequest: Final[Any] = _schema_types.ValidateSchemaRequest.pb()
    ValidateSchemaResponse: Final[Any] = _schema_types.ValidateSchemaResponse.pb()


def seconds_of(duration: Duration) -> float:
    """Return a Duration in seconds."""
    return float(duration.seconds) + duration.nanos / 1e9


def set_seconds(duration: Duration, seconds: float) -> None:
    """Set a Duration."""
    duration.seconds = int(seconds)
    duration.nanos = round((seconds - int(seconds)) * 1e9)
