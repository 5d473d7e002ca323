"""How a subscription wants its messages: order, redelivery, and what an ack means."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DeliveryRules", "RetryDelays"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDelays:
    """How long a message rests after a nack or an expired lease: doubling, from `min_s` to `max_s`."""

    min_s: float = 0.0
    max_s: float = 0.0

    def after(self, attempts: int) -> float:
        """Return the rest after the `attempts`-th delivery, from 1."""
        return min(self.max_s, self.min_s * 2.0 ** min(attempts - 1, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How a subscription wants its messages.

    Attributes:
        delays: rest after a nack or an expired lease.
        ordered: keep the order of messages with the same key.
        exactly_once: only the last delivery of a message can acknowledge it, and only in time.
        max_attempts: then a message is exhausted, and for the dead-letter topic; None: never.
    """

    delays: RetryDelays = RetryDelays()
    ordered: bool = False
    exactly_once: bool = False
    max_attempts: int | None = None
