"""The root error and the system's clocks."""

from __future__ import annotations

from datetime import UTC

from longcall._core.clock import SystemClock
from longcall._core.errors import LongcallError


def test_clocks_measure_and_date() -> None:
    clock = SystemClock()

    assert clock.monotonic_s() <= clock.monotonic_s()
    assert clock.now().tzinfo is UTC


def test_an_error_is_not_retryable_unless_it_says_so() -> None:
    assert LongcallError.retryable is False
