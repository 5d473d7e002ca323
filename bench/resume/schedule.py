"""When each event of the benchmark happens: one after the other, once everything waits."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

__all__ = ["go", "places", "turn"]

_BEGINS_S = 5.0


def places(kind: int, *, kinds: int, calls: int) -> list[int]:
    """Return which of all events are those of one kind: one of each round, at a place drawn by lot.

    Airflow works in loops of about a second. Kinds that took turns in a fixed order, at fixed distances,
    would each meet those loops at moments of their own, and be quick or slow for that alone.
    """
    dice = random.Random(0)
    orders = [dice.sample(range(kinds), kinds) for _ in range(calls)]
    return [kinds * number + order[kind] for number, order in enumerate(orders)]


def go(apart_s: float) -> None:
    """Let the first event happen in five seconds, and each `apart_s` after the one before, on average."""
    path = Path(os.environ["BENCH_GO"])
    path.with_suffix(".new").write_text(f"{time.time() + _BEGINS_S} {apart_s}")
    path.with_suffix(".new").rename(path)


async def turn(number: int) -> None:
    """Wait for the turn of the event of this number."""
    while (plan := _plan()) is None:  # noqa: ASYNC110 # another process says when
        await asyncio.sleep(2)
    began_s, apart_s = plan
    await asyncio.sleep(began_s + apart_s * _distance(number) - time.time())


def _plan() -> tuple[float, float] | None:
    path = Path(os.environ["BENCH_GO"])
    if not path.exists():
        return None
    began_s, apart_s = path.read_text().split()
    return float(began_s), float(apart_s)


def _distance(number: int) -> float:
    """Return how many mean distances an event comes after the first: each is drawn from 0.4 to 1.6."""
    dice = random.Random(1)
    return sum(dice.uniform(0.4, 1.6) for _ in range(number))
