"""What a publish request must be. Rests on the resource limits of the Pub/Sub quotas page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from longcall.broker.errors import InvalidArgument

__all__ = ["MAX_REQUEST_BYTES", "WireMessage", "check_publish"]

MAX_REQUEST_BYTES: Final = 10_000_000
_MAX_PAYLOAD_BYTES: Final = 10_485_760
_MAX_MESSAGES: Final = 1000
_MAX_ATTRIBUTES: Final = 100
_MAX_KEY_BYTES: Final = 256
_MAX_VALUE_BYTES: Final = 1024
_MAX_ORDERING_KEY_BYTES: Final = 1024


class WireMessage(Protocol):
    """The part of a `PubsubMessage` that a publisher sets."""

    data: bytes
    ordering_key: str

    @property
    def attributes(self) -> Mapping[str, str]:
        """The attributes."""
        ...


def check_publish(messages: Sequence[WireMessage], *, request_bytes: int) -> None:
    """Return if the messages may be published together.

    Raises:
        InvalidArgument: with the real service's words, where they are known.
    """
    if request_bytes > _MAX_PAYLOAD_BYTES:
        raise InvalidArgument(f"Request payload size exceeds the limit: {_MAX_PAYLOAD_BYTES} bytes.")
    if not messages:
        raise InvalidArgument("You have not specified a message in the request.")
    if len(messages) > _MAX_MESSAGES:
        raise InvalidArgument(
            f"The value for message_count is too large. You passed {len(messages)} in the request, "
            f"but the maximum value is {_MAX_MESSAGES}."
        )
    if request_bytes > MAX_REQUEST_BYTES:
        raise InvalidArgument(
            f"The value for request_size is too large. You passed {request_bytes} in the request, "
            f"but the maximum value is {MAX_REQUEST_BYTES}."
        )
    keys = {message.ordering_key for message in messages}
    if len(keys) > 1:
        raise InvalidArgument("All messages of a request must have the same ordering key.")
    for message in messages:
        _check_message(message)


def _check_message(message: WireMessage) -> None:
    if not message.data and not message.attributes:
        raise InvalidArgument("A message must have data or at least one attribute.")
    if len(message.attributes) > _MAX_ATTRIBUTES:
        raise InvalidArgument(
            f"A message has at most {_MAX_ATTRIBUTES} attributes; you passed {len(message.attributes)}."
        )
    if len(message.ordering_key.encode()) > _MAX_ORDERING_KEY_BYTES:
        raise InvalidArgument(f"An ordering key has at most {_MAX_ORDERING_KEY_BYTES} bytes.")
    for key, value in message.attributes.items():
        if not key or key.startswith("goog"):
            raise InvalidArgument(f"The attribute key {key!r} is empty or begins with goog.")
        if len(key.encode()) > _MAX_KEY_BYTES:
            raise InvalidArgument(f"The attribute key {key[:40]!r}… has more than {_MAX_KEY_BYTES} bytes.")
        if len(value.encode()) > _MAX_VALUE_BYTES:
            raise InvalidArgument(f"The value of attribute {key!r} has more than {_MAX_VALUE_BYTES} bytes.")
