"""Attempts at a call's work: how one begins, and what becomes of one that died with its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, union_all, update
from sqlalchemy.sql.dml import ReturningUpdate

from longcall.contract import CallState, Completion, Failed, Problem
from longcall.service.handlers import OnInterrupt
from longcall.service.store.endings import AFTER_A_DEAD_RUN, CANCELLED, ending_values
from longcall.service.store.rows import CallRow
from longcall.service.store.tables import IS_RUNNING, IS_WAITING, calls
from longcall.service.store.values import Interrupted

__all__ = ["BEGIN", "begin_oldest", "is_run", "recover"]

_ASSIGNMENT: Final = tuple(
    calls.c[name]
    for name in (
        *("correlid", "handler", "attempt", "accepted_s", "started_s"),
        *("body", "content_type", "deadline_s", "reply_topic", "traceparent", "signing_keys"),
    )
)
BEGIN: Final = (
    update(calls)
    .values(
        state=str(CallState.RUNNING),
        attempt=calls.c.attempt + 1,
        owner=bindparam("by"),
        started_s=bindparam("now_s"),
        heartbeat_s=bindparam("now_s"),
        progress=None,
    )
    .returning(*_ASSIGNMENT)
)
"""Begins the next attempt of a call that a `where` picks, for `by` at `now_s`."""
_DEAD: Final = tuple(
    calls.c[name]
    for name in ("number", "correlid", "handler", "attempt", "interruptions", "cancel_requested")
)


@lru_cache
def begin_oldest(handlers: Sequence[str]) -> ReturningUpdate[Any]:
    """Return the statement that begins the oldest call that waits for one of these."""
    # Of each handler the oldest, and the oldest of those: none makes the others' search longer.
    number = func.min(calls.c.number).label("number")
    of_each = [select(number).where(IS_WAITING, calls.c.handler == name) for name in handlers]
    oldest = select(func.min(union_all(*of_each).subquery().c.number)).scalar_subquery()
    return BEGIN.where(calls.c.number == oldest)


def is_run(correlation_id: str, attempt: int) -> Sequence[ColumnElement[bool]]:
    """Return the condition that `attempt` is the one that runs."""
    return (calls.c.correlid == correlation_id, calls.c.attempt == attempt, IS_RUNNING)


def recover(
    db: Connection,
    dead: ColumnElement[bool],
    on_interrupt: Mapping[str, OnInterrupt],
    *,
    max_interruptions: int,
    now: datetime,
) -> Interrupted:
    """Deal with the runs that are dead; see `CallStore.recover`."""
    rerun, failed, cancelled = [], [], []
    handlers = {}
    for row in db.execute(select(*_DEAD).where(dead).with_for_update()).all():
        handlers[row.correlid] = row.handler
        policy = on_interrupt.get(row.handler, "rerun")
        if row.cancel_requested:
            cancelled.append(row.correlid)
            completion: Completion = CANCELLED
        elif policy == "fail" or row.interruptions + 1 >= max_interruptions:
            failed.append(row.correlid)
            completion = Failed(problem=_interrupted(row, policy))
        else:
            rerun.append(row.correlid)
            again = {"state": str(CallState.ACCEPTED), "owner": None}
            again |= {"interruptions": row.interruptions + 1}
            db.execute(update(calls).where(calls.c.number == row.number).values(again))
            continue
        ended = ending_values(completion, sequence=AFTER_A_DEAD_RUN, now=now)
        db.execute(update(calls).where(calls.c.number == row.number).values(ended))
    return Interrupted(
        rerun=tuple(rerun), failed=tuple(failed), cancelled=tuple(cancelled), handlers=handlers
    )


def _interrupted(row: CallRow, policy: OnInterrupt) -> Problem:
    if policy == "fail":
        return Problem(
            title="The work was interrupted",
            detail=f"its process died during attempt {row.attempt}, and it is not to be run again by itself",
            code="interrupted",
        )
    return Problem(
        title="The work was interrupted too often",
        detail=f"its process died {row.interruptions + 1} times while it ran: it may be what kills it",
        code="interrupted",
        retryable=False,
    )
