"""What the labels of an inbox say can be read again."""

from __future__ import annotations

from datetime import UTC, datetime

from longcall.client.labels import created_label, created_time


def test_time_of_creation_is_kept_to_the_second() -> None:
    now = datetime(2026, 11, 25, 3, 0, 1, tzinfo=UTC)
    assert created_time(created_label(now)) == now
    assert created_time(created_label(now.replace(microsecond=999_999))) == now
    assert created_time({}) is None
    assert created_time({"longcall_created": "yesterday"}) is None
