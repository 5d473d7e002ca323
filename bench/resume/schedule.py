"""When each event of the benchmark happens: one after the other, once everything waits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

__all__ = ["go", "turn"]


def go(apart_s: float) -> None:
    """Let the first event happen in five seconds, and each `apart_s` after the one before."""
    path = Path(os.environ["BENCH_GO"])
    path.with_suffix(".new").write_text(f"{time.time() + 5} {apart_s}")
    path.with_suffix(".new").rename(path)


async def turn(number: int) -> None:
    """Wait for the turn of the event of this number."""
    while (plan := _plan()) is None:  # noqa: ASYNC110 # another process says when
        await asyncio.sleep(2)
    began_s, apart_s = plan
    await asyncio.sleep(began_s + number * apart_s - time.time())


def _plan() -> tuple[float, float] | None:
    path = Path(os.environ["BENCH_GO"])
    if not path.exists():
        return None
    began_s, apart_s = path.read_text().split()
    return float(began_s), float(apart_s)
