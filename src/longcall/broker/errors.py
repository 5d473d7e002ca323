"""How the broker refuses: a gRPC status by name, and a message that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo

from longcall._core.errors import LongcallError

__all__ = [
    "Aborted",
    "AlreadyExists",
    "BrokerConfigError",
    "BrokerError",
    "FailedPrecondition",
    "InvalidAckIds",
    "InvalidArgument",
    "NotFound",
    "ResourceExhausted",
    "StoreError",
    "Unavailable",
    "Unimplemented",
]

_MAX_DETAILED = 60  # more would not fit into the metadata that a client accepts


class BrokerError(LongcallError):
    """The request is answered with `code` and the message.

    Attributes:
        code: name of a gRPC status, e.g. `NOT_FOUND`.
        details: messages of `google/rpc/error_details.proto` that go with it.
    """

    code: str = "INTERNAL"
    details: Sequence[Any] = ()


class InvalidArgument(BrokerError):
    """The request can never be right, whatever is there."""

    code = "INVALID_ARGUMENT"


class InvalidAckIds(InvalidArgument):
    """With exactly-once delivery: some ack ids are malformed, late or superseded. The others counted.

    Rests on https://cloud.google.com/pubsub/docs/exactly-once-delivery.
    """

    def __init__(self, ack_ids: Sequence[str]) -> None:
        super().__init__(
            "Some acknowledgement ids in the request were invalid. This could be because the acknowledgement "
            "ids have expired or the acknowledgement ids were malformed."
        )
        metadata = dict.fromkeys(ack_ids[:_MAX_DETAILED], "PERMANENT_FAILURE_INVALID_ACK_ID")
        self.details = (
            ErrorInfo(reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com", metadata=metadata),
        )


class NotFound(BrokerError):
    """What the request names is not there."""

    code = "NOT_FOUND"


class AlreadyExists(BrokerError):
    """What the request would create is there."""

    code = "ALREADY_EXISTS"


class Aborted(BrokerError):
    """What the request rests on has changed meanwhile: read it again first."""

    code = "ABORTED"


class FailedPrecondition(BrokerError):
    """What the request names is not in a state for it."""

    code = "FAILED_PRECONDITION"


class Unavailable(BrokerError):
    """The broker is about to stop; another may take its place."""

    code = "UNAVAILABLE"
    retryable = True


class ResourceExhausted(BrokerError):
    """A limit is reached; later, or with less, the request may succeed."""

    code = "RESOURCE_EXHAUSTED"
    retryable = True


class Unimplemented(BrokerError):
    """Google Pub/Sub can do this and the broker cannot yet."""

    code = "UNIMPLEMENTED"


class BrokerConfigError(LongcallError):
    """The broker cannot start as it is configured."""


class StoreError(LongcallError):
    """The data directory cannot be used. Nothing in it was changed."""
