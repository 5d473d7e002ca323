"""When each event of the benchmark happens: one after the other, once everything waits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

__all__ = ["APART_S", "go", "turn"]

APART_S = 0.57
"""No multiple of the triggerer's own rhythm of one second: events fall anywhere in it."""


def go() -> None:
    """Let the first event happen in five seconds."""
    path = Path(os.environ["BENCH_GO"])
    path.with_suffix(".new").write_text(str(time.time() + 5))
    path.with_suffix(".new").rename(path)


async def turn(number: int) -> None:
    """Wait for the turn of the event of this number."""
    while (began_s := _began_s()) is None:  # noqa: ASYNC110 # another process says when
        await asyncio.sleep(2)
    await asyncio.sleep(began_s + number * APART_S - time.time())


def _began_s() -> float | None:
    path = Path(os.environ["BENCH_GO"])
    return float(path.read_text()) if path.exists() else None
