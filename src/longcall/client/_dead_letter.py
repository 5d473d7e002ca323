"""A completion that nobody will claim, and the message that tells an operator of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from longcall.contract import Message, Report

__all__ = ["SetAside", "dead_letter", "is_dead_letter"]

_REASON: Final = "unclaimed"
_PREFIX: Final = "longcall-dead-letter-"
_MAX_ATTRIBUTES: Final = 100


@dataclass(frozen=True, slots=True)
class SetAside:
    """A completion that nobody claims.

    Attributes:
        report: what it says.
        message: as it was on the wire.
        inbox: where it arrived.
        topic: where it was published again; empty: it stays in the inbox until Pub/Sub's retention ends.
    """

    report: Report
    message: Message
    inbox: str
    topic: str

    def __str__(self) -> str:
        """Say which, why, and where it is now; nothing of the result."""
        where = f"moved to {self.topic}" if self.topic else "left in the inbox until its retention ends"
        return (
            f"Inbox {self.inbox}: no task waits for call {self.report.correlation_id}; its completion "
            f"(message {self.message.message_id}, published {self.message.publish_time}) is {where}"
        )


def is_dead_letter(message: Message) -> bool:
    """Tell whether this is a message of `dead_letter`, which must not be set aside again."""
    return f"{_PREFIX}reason" in message.attributes


def dead_letter(aside: SetAside, *, now: datetime) -> Message:
    """Return the message as it came, with attributes that say why it is here, as far as there is room."""
    published = aside.message.publish_time
    why = {
        f"{_PREFIX}reason": _REASON,
        f"{_PREFIX}inbox": aside.inbox,
        f"{_PREFIX}message-id": aside.message.message_id,
        f"{_PREFIX}publish-time": published.isoformat() if published is not None else "",
        f"{_PREFIX}time": now.isoformat(),
    }
    room = _MAX_ATTRIBUTES - len(aside.message.attributes)
    attributes = {**dict(list(why.items())[: max(0, room)]), **aside.message.attributes}
    return Message(data=aside.message.data, attributes=attributes)
