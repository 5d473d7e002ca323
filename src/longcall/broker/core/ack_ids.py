"""Ack ids: opaque to clients, and tell the broker which delivery of which message of which subscription.

So a malformed one, one of another subscription, and a superseded one are told apart.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass

__all__ = ["AckId", "decode_ack_id", "encode_ack_id"]

_FORM = struct.Struct(">QQQ")


@dataclass(frozen=True, slots=True)
class AckId:
    """What an ack id says.

    Attributes:
        subscription: its number; a recreated subscription has another.
        message_id: the message.
        serial: which delivery of it.
    """

    subscription: int
    message_id: int
    serial: int


def encode_ack_id(ack_id: AckId) -> str:
    """Return the text that a client is given."""
    body = _FORM.pack(ack_id.subscription, ack_id.message_id, ack_id.serial)
    return base64.urlsafe_b64encode(body + struct.pack(">I", zlib.crc32(body))).decode()


def decode_ack_id(text: str) -> AckId | None:
    """Read what a client gave back; None: it is none of ours."""
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
        body, (check,) = raw[:-4], struct.unpack(">I", raw[-4:])
        return AckId(*_FORM.unpack(body)) if zlib.crc32(body) == check else None
    except (binascii.Error, struct.error, ValueError):
        return None
