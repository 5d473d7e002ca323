"""When a start is asked for again, with the same id, after a service did not take it. Pure but for dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from longcall.client._backoff import Backoff
from longcall.client.errors import CallError, CallRefused

__all__ = ["StartAttempts", "retry_after_s"]


class StartAttempts:
    """Counts the attempts of one start and says how long to pause after each.

    Pauses double from `min_s` to `max_s`, with jitter. A service that says how long to wait
    (`Retry-After`) is taken at its word; one that asks for more than `max_s` is not asked again.
    """

    def __init__(
        self, *, attempts: int, min_s: float, max_s: float, dice: Callable[[], float] = random.random
    ) -> None:
        self._left = attempts
        self._max_s = max_s
        self._backoff = Backoff(min_s=min_s, max_s=max_s, dice=dice)

    def pause_s(self, error: CallError) -> float | None:
        """Return for how long to pause after an attempt that ended so; None: it was the last."""
        self._left -= 1
        if self._left <= 0 or not error.retryable:
            return None
        pause_s = self._backoff.pause_s()
        asked_s = error.retry_after_s if isinstance(error, CallRefused) else None
        if asked_s is None:
            return pause_s
        return None if asked_s > self._max_s else max(pause_s, asked_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` (RFC 9110 section 10.2.3), in seconds or as a date; None: absent or neither.

    Args:
        headers: by lower-case name. A date is compared with the answer's own `Date`, so that no two clocks
            have to agree.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until, sent = (parsedate_to_datetime(text) for text in (value, headers.get("date", "")))
        return max(0.0, (until - sent).total_seconds())
    except (TypeError, ValueError):  # no date, or only one of them has a time zone
        return None
