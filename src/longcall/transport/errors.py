"""What a message system answers when it does not do as asked."""

from __future__ import annotations

from longcall._core.errors import LongcallError

__all__ = [
    "FileMissing",
    "InboxConflict",
    "InboxNotFound",
    "TopicNotFound",
    "TransportDenied",
    "TransportError",
    "TransportRefused",
    "TransportUnavailable",
]


class TransportError(LongcallError):
    """The message system did not do what it was asked.

    Attributes:
        resource: the topic or inbox that was named.
    """

    def __init__(self, message: str, *, resource: str = "") -> None:
        super().__init__(message)
        self.resource = resource


class TransportUnavailable(TransportError):
    """It could not be reached, is overloaded, or took too long. Try again."""

    retryable = True


class TransportRefused(TransportError):
    """It read the request and will not carry it out, however often it is asked."""


class TransportDenied(TransportRefused):
    """The credentials are missing or do not permit this."""


class TopicNotFound(TransportRefused):
    """The topic does not exist; an administrator makes topics."""


class FileMissing(TransportRefused):
    """No file lies there: it was never written, or has been deleted."""


class InboxNotFound(TransportRefused):
    """The inbox does not exist: it was deleted or has expired."""


class InboxConflict(TransportRefused):
    """An inbox of that name exists and is another one."""
