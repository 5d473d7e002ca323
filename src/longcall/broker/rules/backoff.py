"""How long a message rests before it is delivered again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RetryDelays"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDelays:
    """How long a message rests after a nack or an expired lease: doubling, from `min_s` to `max_s`."""

    min_s: float = 0.0
    max_s: float = 0.0

    def after(self, attempts: int) -> float:
        """Return the rest after the `attempts`-th delivery, from 1."""
        return min(self.max_s, self.min_s * 2.0 ** min(attempts - 1, 60))
