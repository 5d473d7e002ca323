"""Limits on durations, in the words of the real service."""

from __future__ import annotations

from typing import Final

from longcall.broker.errors import InvalidArgument
from longcall.broker.wire import Duration, seconds_of

__all__ = ["DAY_S", "check_retention", "go_duration"]

DAY_S: Final = 24 * 3600.0
_MIN_RETENTION_S: Final = 600.0
_MAX_RETENTION_S: Final = 31 * DAY_S


def check_retention(retention: Duration) -> float:
    """Return a message retention in seconds.

    Raises:
        InvalidArgument: it is not between 10 minutes and 31 days.
    """
    retention_s = seconds_of(retention)
    if not _MIN_RETENTION_S <= retention_s <= _MAX_RETENTION_S:
        raise InvalidArgument(
            "The value for message retention duration is out of bounds. "
            f"You passed {go_duration(retention_s)} in the request, "
            "but the value must be between 10m and 744h."
        )
    return retention_s


def go_duration(seconds: float) -> str:
    """Return seconds the way the real service writes them: `23h59m59s`, `5m`, `24h`."""
    whole = int(seconds)
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{value}{unit}" for value, unit in parts if value) or "0s"
