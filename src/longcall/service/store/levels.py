"""How much there is in the store at one moment: what waits, what runs, what is not published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from longcall.service.store.tables import IS_DUE, IS_RUNNING, IS_WAITING, calls

__all__ = ["Levels", "read_levels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Numbers of calls. Handlers without any are left out.

    Attributes:
        waiting: for their turn, by handler.
        running: by handler.
        unpublished: completions that have to be published.
        oldest_unpublished_s: since when the oldest of them has to; 0: there is none.
    """

    waiting: Mapping[str, int]
    running: Mapping[str, int]
    unpublished: int
    oldest_unpublished_s: float


def read_levels(db: Connection, *, now_s: float) -> Levels:
    """Count what is in the store.

    Args:
        db: in a transaction, which may be one that only reads.
        now_s: seconds since 1970.
    """
    due, oldest_s = db.execute(select(func.count(), func.min(calls.c.ended_s)).where(IS_DUE)).one()
    return Levels(
        waiting=_by_handler(db, IS_WAITING),
        running=_by_handler(db, IS_RUNNING),
        unpublished=due,
        oldest_unpublished_s=max(0.0, now_s - oldest_s) if due else 0.0,
    )


def _by_handler(db: Connection, where: ColumnElement[bool]) -> Mapping[str, int]:
    counts = select(calls.c.handler, func.count()).where(where).group_by(calls.c.handler)
    return {row[0]: row[1] for row in db.execute(counts)}
