"""Which calls a sweep takes for left over."""

from __future__ import annotations

import pytest

from longcall.airflow.sweep import is_left_over


@pytest.mark.parametrize(
    ("state", "has_run", "current", "expected"),
    [
        ("deferred", True, "lc-1", False),
        ("deferred", True, "lc-2", True),  # cleared, and it waits for its next call
        ("running", True, "lc-1", False),
        ("running", True, None, False),  # a new try has begun, and has not said which call it means
        ("running", True, "lc-2", True),
        ("up_for_retry", True, "lc-1", False),  # the next try goes on with it
        (None, True, None, False),  # a later step of a group, not begun
        (None, True, "lc-1", False),  # cleared: its next try ends it, or the next sweep
        (None, False, None, True),  # the run was deleted
        (None, False, "lc-1", True),
        ("success", True, "lc-1", True),
        ("failed", True, "lc-1", True),
        ("failed", True, None, True),
        ("upstream_failed", True, None, True),
        ("skipped", True, None, True),
        ("removed", True, None, True),
    ],
)
def test_call_is_left_over_when_its_task_does_not_wait_for_it(
    state: str | None, has_run: bool, current: str | None, expected: bool
) -> None:
    assert is_left_over("lc-1", state=state, has_run=has_run, current=current) is expected
