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
from longcall.transport.port import Delivery, FoundInbox, InboxSpec, InboxStream, Transport

__all__ = [
    "Delivery",
    "FileMissing",
    "FoundInbox",
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
