"""Asks another process again and again: the one way to wait for what nobody announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.e2e.processes import WAIT_S

__all__ = ["until", "wait_until"]

_PAUSE_S = 0.05


async def until(is_so: Callable[[], Awaitable[bool]], *, wait_s: float = WAIT_S) -> None:
    """Wait until the answer is yes."""
    async with asyncio.timeout(wait_s):
        while not await is_so():  # noqa: ASYNC110 # it is another process
            await asyncio.sleep(_PAUSE_S)


def wait_until(is_so: Callable[[], bool], otherwise: str = "it never happens") -> None:
    """Wait until the answer is yes."""
    end_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end_s, otherwise
        time.sleep(_PAUSE_S)
