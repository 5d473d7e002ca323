"""One Pub/Sub message, as both sides of the contract see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["ENVELOPE_BYTES", "MAX_ATTRIBUTE_VALUE_BYTES", "MAX_MESSAGE_BYTES", "Message"]

MAX_MESSAGE_BYTES = 10_000_000
"""Pub/Sub's limit of one publish request, and so of one message in its envelope."""

ENVELOPE_BYTES = 1024
"""Room for what a request adds to data and attributes: the topic's path, tags and lengths of the fields."""

MAX_ATTRIBUTE_VALUE_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Bytes and attributes; the last two fields are set by Pub/Sub on publish.

    Attributes:
        data: at most `MAX_MESSAGE_BYTES` together with the attributes and the request's `ENVELOPE_BYTES`.
        attributes: at most 100; values are UTF-8 of up to 1024 bytes.
        message_id: unique in its topic; empty before the publish.
        publish_time: when Pub/Sub took it; None before the publish.
    """

    data: bytes = b""
    attributes: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    publish_time: datetime | None = None
