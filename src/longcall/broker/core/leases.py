"""Who has which message, for how long, and how much more it may be given.

Pure state, as `longcall.broker.core.delivery`, which grants the leases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Consumer", "Lease"]

_UNLIMITED: Final = 1 << 62


@dataclass(slots=True, eq=False)
class Consumer:
    """Somebody who takes messages: a stream, with its flow control, one pull, or a pusher.

    Attributes:
        max_messages: un-acked at once.
        max_bytes: likewise; one message always fits.
        pushes: takes them from a push subscription; others may take from pull subscriptions only.
        on_release: called with each lease that ends, however it does, before the queue is as it will be.
    """

    max_messages: int = _UNLIMITED
    max_bytes: int = _UNLIMITED
    messages: int = 0
    bytes: int = 0
    pushes: bool = False
    on_release: Callable[[Lease], object] | None = None

    @property
    def has_room(self) -> bool:
        """Whether it may be given one more."""
        return self.messages < self.max_messages and self.bytes < self.max_bytes


@dataclass(slots=True, eq=False)
class Lease:
    """One delivery of one message.

    Attributes:
        message_id: which.
        serial: tells this delivery from every other of the subscription; rises.
        attempt: 1, and one more for each nack and expired lease before.
        size_bytes: what it counts for in flow control.
        until_s: when it ends.
        consumer: who has it.
    """

    message_id: int
    serial: int
    attempt: int
    size_bytes: int
    until_s: float
    consumer: Consumer

    def occupy(self) -> None:
        """Take room of its consumer, when it begins."""
        self.consumer.messages += 1
        self.consumer.bytes += self.size_bytes

    def free(self) -> None:
        """Give its consumer the room back, when it has ended."""
        consumer = self.consumer
        consumer.messages -= 1
        consumer.bytes -= self.size_bytes
        if consumer.on_release is not None:
            consumer.on_release(self)
