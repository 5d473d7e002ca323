"""One snapshot at work: what its subscription had not acknowledged, and all that was published since."""

from __future__ import annotations

from longcall.broker.core.messages import HeldMessage
from longcall.broker.protos import Snapshot

__all__ = ["ActiveSnapshot"]


class ActiveSnapshot:
    """A snapshot in memory. It holds its messages until it is deleted or expires.

    Attributes:
        number: tells it from an earlier one of the same name.
        body: the `Snapshot` message as clients see it.
        message_ids: what is not acknowledged after a seek to it, as far as a filter lets it through.
    """

    def __init__(self, number: int, body: Snapshot) -> None:
        self.number = number
        self.body = body
        self.message_ids: dict[int, None] = {}
        self.is_deleted = False

    @property
    def name(self) -> str:
        """Full path."""
        return str(self.body.name)

    def has_expired(self, now_s: float) -> bool:
        """Tell whether its time is over."""
        return now_s * 1e9 >= int(self.body.expire_time.ToNanoseconds())

    def receive(self, message_id: int, _: HeldMessage) -> None:
        """Keep a message that was published."""
        self.message_ids[message_id] = None

    def restore(self, message_id: int, _: HeldMessage, *, acked: bool) -> None:
        """Keep a message that the store has kept."""
        self.message_ids[message_id] = None
