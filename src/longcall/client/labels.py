"""What the labels of an inbox say: that it is ours, and since when it is there; for whom says `CallOwner`.

Pub/Sub tells none of this, and whoever sweeps up after a killed process has nothing else to go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

__all__ = ["SOURCE_LABELS", "created_label", "created_time"]

SOURCE_LABELS: Final = {"source": "longcall"}
"""On every inbox of ours."""
_CREATED: Final = "longcall_created"


def created_label(now: datetime) -> dict[str, str]:
    """Return the label that says when an inbox was made, in whole seconds: never later than it was."""
    return {_CREATED: str(int(now.timestamp()))}


def created_time(labels: Mapping[str, str]) -> datetime | None:
    """Return when an inbox was made, aware; None: its labels do not say."""
    value = labels.get(_CREATED, "")
    return datetime.fromtimestamp(int(value), UTC) if value.isdecimal() else None
