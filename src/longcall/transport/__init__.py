"""The port to a message system (publish, inboxes) and its adapters."""

from longcall.transport.errors import (
    FileMissing,
    InboxConflict,
    InboxNotFound,
    TopicNotFound,
    TransportDenied,
    TransportError,
    TransportRefused,
    TransportUnavailable,
)
from longcall.transport.port import Delivery, InboxSpec, InboxStream, Transport

__all__ = [
    "Delivery",
    "FileMissing",
    "InboxConflict",
    "InboxNotFound",
    "InboxSpec",
    "InboxStream",
    "TopicNotFound",
    "Transport",
    "TransportDenied",
    "TransportError",
    "TransportRefused",
    "TransportUnavailable",
]
