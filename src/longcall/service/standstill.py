"""Notices that this process stood still while it had work to do.

Somebody took its processor away (Cloud Run between two requests, a laptop's lid, SIGSTOP, a machine that
swaps), or an asynchronous handler blocks the event loop. Work is late then, and from outside looks hung.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from longcall._core.clock import Clock

__all__ = ["watching_for_standstill"]

log = logging.getLogger(__name__)

_LOOK_S: Final = 2.0
_TOO_LONG_S: Final = 5.0


@asynccontextmanager
async def watching_for_standstill(
    *, is_working: Callable[[], bool], advice: str, clock: Clock
) -> AsyncIterator[None]:
    """Warn of each standstill of more than five seconds while the context is open.

    Args:
        is_working: whether a standstill would hold anything up.
        advice: what to do about it here, the end of the warning.
        clock: measures.
    """
    watch = asyncio.create_task(_watch(is_working, advice, clock))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait({watch})


async def _watch(is_working: Callable[[], bool], advice: str, clock: Clock) -> None:
    while True:
        had_work, before_s = is_working(), clock.monotonic_s()
        await asyncio.sleep(_LOOK_S)
        late_s = clock.monotonic_s() - before_s - _LOOK_S
        if had_work and late_s > _TOO_LONG_S:
            log.warning("This process stood still for %.0f s while it had calls at work: %s", late_s, advice)
