"""The end of a call: what its row says from then on, and when it is forgotten."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, func, select

from longcall.contract import Cancelled, Completion
from longcall.service.store.log import LOG_BYTES, forget_lines
from longcall.service.store.rows import Values, completion_values
from longcall.service.store.tables import IS_PUBLISHED, calls

__all__ = ["AFTER_A_DEAD_RUN", "CANCELLED", "FIRST_COMPLETION", "ending_values", "forget"]

CANCELLED: Final = Cancelled(detail="by request")
FIRST_COMPLETION: Final = 2
"""Sequence of a completion before which there was no more than *accepted*."""
AFTER_A_DEAD_RUN: Final = 1_000_000_000
"""Sequence of a completion after a run whose last number nobody knows: above whatever it was."""

_FORGET_AT_ONCE: Final = 1000


def ending_values(completion: Completion, *, sequence: int, now: datetime) -> Values:
    """Return the columns that end a call, which takes the room of its result and of its log from then on."""
    values = completion_values(completion, sequence=sequence, now=now)
    return values | {"kept_bytes": LOG_BYTES + values.get("kept_bytes", 0)}


def forget(db: Connection, *, max_ended: int, max_bytes: int, before_s: float) -> int:
    """Remove ended calls beyond a number, beyond a size, or from before an instant; return how many.

    The oldest go first, and none whose completion is not published. A thousand at most.
    """
    newest_first = (calls.c.ended_s.desc(), calls.c.number.desc())
    ended = (
        select(
            calls.c.number,
            calls.c.ended_s,
            func.row_number().over(order_by=newest_first).label("rank"),
            func.sum(calls.c.kept_bytes).over(order_by=newest_first).label("size"),
        )
        .where(IS_PUBLISHED)
        .subquery()
    )
    too_much = (ended.c.rank > max_ended) | (ended.c.size > max_bytes) | (ended.c.ended_s < before_s)
    old = select(ended.c.number).where(too_much).order_by(ended.c.ended_s).limit(_FORGET_AT_ONCE)
    numbers = db.execute(old).scalars().all()
    forget_lines(db, numbers)
    return db.execute(delete(calls).where(calls.c.number.in_(numbers))).rowcount
