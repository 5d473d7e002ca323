"""How much of a push subscription is under way at once, and how long it pauses when pushing fails.

Pure state: no I/O, no clock. Slow start and push backoff as
https://cloud.google.com/pubsub/docs/push describes them; the figures beyond what
that page gives are this broker's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_WINDOW", "PushFlow"]

MAX_WINDOW: Final = 64
"""More at once make one server on the same machine no faster."""

_FIRST_WINDOW: Final = 4
_MIN_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 60.0


@dataclass(slots=True)
class PushFlow:
    """The window of one endpoint.

    Requests that were sent before the last failure tell nothing new: a window full of
    refused connections is one failure, not many. Each request remembers its `round`.

    Attributes:
        window: requests at once. A success makes it one larger, a failure half as large.
        round: counts failures that counted.
        failures: in a row.
    """

    window: int = _FIRST_WINDOW
    round: int = 0
    failures: int = 0

    def succeed(self, sent_in_round: int) -> None:
        """Take note of a message that the endpoint has acknowledged."""
        if sent_in_round == self.round:
            self.window = min(MAX_WINDOW, self.window + 1)
            self.failures = 0

    def fail(self, sent_in_round: int) -> float | None:
        """Take note of one that it has not; return for how long to pause, None: no longer than before."""
        if sent_in_round != self.round:
            return None
        self.round += 1
        self.failures += 1
        self.window = max(1, self.window // 2)
        return min(_MAX_PAUSE_S, _MIN_PAUSE_S * 2.0 ** min(self.failures - 1, 60))
