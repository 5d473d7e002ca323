"""What is true about each call. Every change of a call goes through `CallStore`, as one transaction.

Writes of a run of work carry its attempt: those of a run that another has
superseded, or whose call has ended, change nothing and say so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningUpdate

from longcall._core.clock import Clock
from longcall.contract import (
    CallRequest,
    CallState,
    Cancelled,
    Completion,
    Failed,
    LogLine,
    Problem,
    Progress,
)
from longcall.contract.signing import MAX_SIGNING_KEYS
from longcall.service.errors import CallConflict, ServiceUnavailable, UnknownCall
from longcall.service.handlers import OnInterrupt
from longcall.service.store.database import Database
from longcall.service.store.files import expired_files, forget_files, note_file
from longcall.service.store.levels import Levels, read_levels
from longcall.service.store.log import LOG_BYTES, add_lines, forget_lines, read_lines
from longcall.service.store.rows import (
    completion_values,
    progress_value,
    request_values,
    to_assignment,
    to_due,
    to_stored_call,
    to_summary,
)
from longcall.service.store.tables import IS_DUE, IS_OPEN, IS_PUBLISHED, IS_RUNNING, IS_WAITING, calls
from longcall.service.store.values import (
    Assignment,
    CallFilter,
    CallSummary,
    Due,
    Interrupted,
    StoredCall,
    StoredLine,
)

__all__ = ["CallStore"]

T = TypeVar("T")
_Values: TypeAlias = dict[str, Any]

_CANCELLED: Final = Cancelled(detail="by request")
_FIRST_COMPLETION: Final = 2
"""Sequence of a completion before which there was no more than *accepted*."""
_FORGET_AT_ONCE: Final = 1000
_FORSAKEN_AT_ONCE: Final = 100
_HAS_NO_JOB: Final = (
    "NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS job WHERE job.lock = longcall_calls.correlid "
    "AND job.status IN ('todo', 'doing'))"
)


class CallStore:
    """The calls of a service."""

    def __init__(self, database: Database, *, clock: Clock, lock: int | None = None) -> None:
        """Take over the database, and the descriptor that locks it; `aclose` closes both."""
        self._database = database
        self._clock = clock
        self._lock = lock
        self._change_event = asyncio.Event()

    @property
    def is_durable(self) -> bool:
        """Whether calls outlive this process."""
        return self._database.is_durable

    def next_change(self) -> asyncio.Event:
        """Return what is set when this process next writes to the store."""
        return self._change_event

    async def aclose(self) -> None:
        """Close the database. A repeat does nothing."""
        await self._database.aclose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def accept(self, request: CallRequest, *, handler: str, max_open: int) -> tuple[StoredCall, bool]:
        """Take a call in, or find it; the flag tells whether it is new.

        Once this returns, the call is not forgotten. A repeat with another signing key adds it: whoever
        asked again waits now.

        Raises:
            CallConflict: the id is known with another body or handler.
            ServiceUnavailable: `max_open` calls have not ended, or the store cannot be written.
        """
        new = request_values(request) | {
            "handler": handler,
            "state": str(CallState.ACCEPTED),
            "accepted_s": self._now_s(),
        }
        row, is_new = await self._write(lambda db: _accept(db, new, max_open))
        if row is None:
            raise ServiceUnavailable("too many calls are waiting: send the same request again later")
        if (row.digest, row.handler) != (new["digest"], handler):
            raise CallConflict("this correlation id is known with other arguments: a new call needs a new id")
        return to_stored_call(row), is_new

    async def get(self, correlation_id: str) -> StoredCall | None:
        """Return a call; None when it is unknown, or ended long ago."""
        query = select(*_STATUS).where(calls.c.correlid == correlation_id)
        row = await self._database.read(lambda db: db.execute(query).one_or_none())
        return None if row is None else to_stored_call(row)

    async def find(
        self, wanted: CallFilter, *, before: int | None = None, limit: int = 100
    ) -> Sequence[CallSummary]:
        """Return the latest `limit` calls that are wanted, the newest first.

        Args:
            wanted: which.
            before: only those whose number is smaller: that of the last one seen.
            limit: how many at most.
        """
        columns = ("number", "correlid", "handler", "state", "attempt")
        times = ("accepted_s", "started_s", "ended_s")
        query = select(*(calls.c[name] for name in (*columns, *times, "progress", "outcome")))
        if wanted.state is not None:
            query = query.where(calls.c.state == str(wanted.state))
        if wanted.handler is not None:
            query = query.where(calls.c.handler == wanted.handler)
        if wanted.accepted_since is not None:
            query = query.where(calls.c.accepted_s >= wanted.accepted_since.timestamp())
        if before is not None:
            query = query.where(calls.c.number < before)
        query = query.order_by(calls.c.number.desc()).limit(limit)
        rows = await self._database.read(lambda db: db.execute(query).all())
        return [to_summary(row) for row in rows]

    async def counts(self) -> Mapping[CallState, int]:
        """Return how many calls stand where."""
        query = select(calls.c.state, func.count()).group_by(calls.c.state)
        rows = await self._database.read(lambda db: db.execute(query).all())
        return {CallState(state): count for state, count in rows}

    async def levels(self) -> Levels:
        """Return how much waits, runs, and has to be published.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        now_s = self._now_s()
        return await self._database.read(lambda db: read_levels(db, now_s=now_s))

    async def claim(self, handlers: Collection[str], *, owner: str) -> Assignment | None:
        """Take the oldest call that waits for one of the handlers, and begin its next attempt."""
        begin, values = _begin_oldest(tuple(sorted(handlers))), {"by": owner, "now_s": self._now_s()}
        row = await self._write(lambda db: db.execute(begin, values).one_or_none())
        return None if row is None else to_assignment(row)

    async def claim_call(self, correlation_id: str, *, owner: str) -> Assignment | None:
        """Begin the next attempt of this call; None: it does not wait."""
        begin = _BEGIN.where(calls.c.correlid == correlation_id, IS_WAITING)
        values = {"by": owner, "now_s": self._now_s()}
        row = await self._write(lambda db: db.execute(begin, values).one_or_none())
        return None if row is None else to_assignment(row)

    async def beat(
        self,
        correlation_id: str,
        *,
        attempt: int,
        progress: Progress | None,
        lines: Sequence[LogLine] = (),
    ) -> bool:
        """Note a sign of life, with progress and lines for the log if there are any.

        Of the log the last 1000 lines are kept, and 256 kB. False: this run no longer counts.
        """
        values: _Values = {"heartbeat_s": self._now_s()}
        if progress is not None:
            values["progress"] = progress_value(progress)
        change = update(calls).where(*_run(correlation_id, attempt)).values(values)

        def beat(db: Connection) -> bool:
            number = db.execute(change.returning(calls.c.number)).scalar_one_or_none()
            if number is not None and lines:
                add_lines(db, number, lines, attempt=attempt)
            return number is not None

        return await self._write(beat)

    async def log_of(self, correlation_id: str, *, after: int = 0) -> Sequence[StoredLine]:
        """Return the lines of a call's log whose number is greater than `after`, the oldest first."""
        return await self._database.read(lambda db: read_lines(db, correlation_id, after=after))

    async def end(
        self,
        correlation_id: str,
        completion: Completion,
        *,
        attempt: int,
        sequence: int,
        traceparent: str = "",
    ) -> bool:
        """Note how a call ended, which makes its completion due; False: this run no longer counts.

        Args:
            correlation_id: the call.
            completion: how it ended.
            attempt: which run says so.
            sequence: of the completion among the reports of this run.
            traceparent: of the run, for the completion; empty: that of the request stays.
        """
        values = self._completion(completion, sequence)
        if traceparent:
            values = {**values, "traceparent": traceparent}
        return await self._change(correlation_id, attempt, values)

    async def release(self, correlation_id: str, *, attempt: int) -> bool:
        """Give up a run without an outcome: the call waits again, or is cancelled if that was asked for."""
        run = _run(correlation_id, attempt)
        cancelled = self._completion(_CANCELLED, _AFTER_A_DEAD_RUN)
        waiting = {"state": str(CallState.ACCEPTED), "owner": None}

        def release(db: Connection) -> bool:
            ended = db.execute(update(calls).where(*run, calls.c.cancel_requested).values(cancelled))
            return bool(ended.rowcount or db.execute(update(calls).where(*run).values(waiting)).rowcount)

        return await self._write(release)

    async def end_waiting(self, completion: Completion) -> int:
        """End every call that waits, for there will be nobody to run it; return how many."""
        ended = update(calls).where(IS_WAITING).values(self._completion(completion, _FIRST_COMPLETION))
        return await self._write(lambda db: db.execute(ended).rowcount)

    async def cancel(self, correlation_id: str) -> StoredCall:
        """Ask for a call's end: one that waits ends now, a running one will be stopped.

        A repeat changes nothing.

        Raises:
            UnknownCall: there is none of that id.
        """
        row = await self._write(lambda db: self._cancel(db, correlation_id))
        if row is None:
            raise UnknownCall("no call of this id is known here, or it ended long ago")
        return to_stored_call(row)

    async def cancelled(self, *, owner: str) -> Mapping[str, int]:
        """Return the attempts, by call, that `owner` runs and somebody wants stopped."""
        query = select(calls.c.correlid, calls.c.attempt).where(
            IS_RUNNING, calls.c.owner == owner, calls.c.cancel_requested
        )
        rows = await self._database.read(lambda db: db.execute(query).all())
        return {row.correlid: row.attempt for row in rows}

    async def recover(
        self,
        on_interrupt: Mapping[str, OnInterrupt],
        *,
        max_interruptions: int,
        only: str | None = None,
        silent_s: float = 0.0,
    ) -> Interrupted:
        """Deal with work that died with its process: nobody runs it now, says who calls this.

        Args:
            on_interrupt: by handler; a call of any other handler waits for a service that has it.
            max_interruptions: a call whose work died so often fails, for it may be what kills the process.
            only: the one call; None: all that run.
            silent_s: leave out what has shown a sign of life since so long ago.
        """
        dead = and_(IS_RUNNING, calls.c.heartbeat_s <= self._now_s() - silent_s) if silent_s else IS_RUNNING
        if only is not None:
            dead = and_(dead, calls.c.correlid == only)
        return await self._write(lambda db: self._recover(db, dead, on_interrupt, max_interruptions))

    async def forsaken(self, *, waiting_s: float, silent_s: float) -> Mapping[str, str]:
        """Return calls, with their handlers, that wait or are silent for so long and have no job.

        Of a store whose engine is procrastinate's; a hundred at most.
        """
        now_s = self._now_s()
        waits = and_(IS_WAITING, calls.c.accepted_s < now_s - waiting_s)
        is_silent = and_(IS_RUNNING, calls.c.heartbeat_s < now_s - silent_s)
        query = (
            select(calls.c.correlid, calls.c.handler)
            .where(or_(waits, is_silent), text(_HAS_NO_JOB))
            .order_by(calls.c.number)
            .limit(_FORSAKEN_AT_ONCE)
        )
        rows = await self._database.read(lambda db: db.execute(query).all())
        return {row.correlid: row.handler for row in rows}

    async def due(self, *, limit: int, but: Collection[str], not_to: Collection[str]) -> Sequence[Due]:
        """Return completions that have to be published, the oldest first.

        Args:
            limit: how many at most.
            but: correlation ids to leave out.
            not_to: reply topics to leave out; the empty one is the service's own.
        """
        query = select(*(calls.c[name] for name in _DUE)).where(IS_DUE)
        if not_to:
            query = query.where(calls.c.reply_topic.not_in(sorted(not_to)))
        query = query.order_by(calls.c.number).limit(limit + len(but))
        rows = await self._database.read(lambda db: db.execute(query).all())
        return [to_due(row) for row in rows if row.correlid not in but][:limit]

    async def count_due(self) -> int:
        """Return how many completions have to be published."""
        query = select(func.count()).where(IS_DUE)
        return await self._database.read(lambda db: int(db.execute(query).scalar_one()))

    async def notify(self) -> None:
        """Tell every replica that something has changed; nothing to tell on one machine.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        await self._database.notify()

    async def note_published(self, correlation_id: str) -> None:
        """Note that a call's completion is out. A repeat changes nothing."""
        now_s = self._now_s()
        note = (
            update(calls)
            .where(calls.c.correlid == correlation_id, IS_DUE)
            .values(published_s=now_s, signing_keys="")
        )
        await self._write(lambda db: db.execute(note))

    async def replace_completion(self, due: Due, completion: Failed) -> None:
        """Put a failure in the place of a completion that no message can carry."""
        values = completion_values(completion, sequence=due.sequence, now=due.ended_time)
        change = (
            update(calls)
            .where(calls.c.correlid == due.correlation_id, IS_DUE)
            .values(values | {"result": None, "kept_bytes": LOG_BYTES})
        )
        await self._write(lambda db: db.execute(change))

    async def forget(self, *, max_ended: int, max_age_s: float, max_bytes: int) -> int:
        """Remove ended calls beyond a number, an age, or a size of results and logs; return how many.

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
        too_much = (
            (ended.c.rank > max_ended)
            | (ended.c.size > max_bytes)
            | (ended.c.ended_s < self._now_s() - max_age_s)
        )
        old = select(ended.c.number).where(too_much).order_by(ended.c.ended_s).limit(_FORGET_AT_ONCE)

        def forget(db: Connection) -> int:
            numbers = db.execute(old).scalars().all()
            forget_lines(db, numbers)
            return db.execute(delete(calls).where(calls.c.number.in_(numbers))).rowcount

        return await self._write(forget)

    async def note_file(self, url: str, *, expires_time: datetime) -> None:
        """Note that a result is about to be put at `url`, and until when it shall lie there."""
        expires_s = expires_time.timestamp()
        await self._write(lambda db: note_file(db, url, expires_s=expires_s))

    async def expired_files(self) -> Sequence[str]:
        """Return where results lie whose time is over; a hundred at most."""
        now_s = self._now_s()
        return await self._database.read(lambda db: expired_files(db, now_s=now_s))

    async def forget_files(self, urls: Collection[str]) -> None:
        """Forget where results lay that are deleted."""
        await self._write(lambda db: forget_files(db, urls))

    async def _write(self, transaction: Callable[[Connection], T]) -> T:
        """Run a transaction, and tell who watches."""
        result = await self._database.write(transaction)
        self._change_event.set()
        self._change_event = asyncio.Event()
        return result

    async def _change(self, correlation_id: str, attempt: int, values: _Values) -> bool:
        """Change a call if `attempt` is the one that runs."""
        change = update(calls).where(*_run(correlation_id, attempt)).values(values)
        return await self._write(lambda db: bool(db.execute(change).rowcount))

    def _cancel(self, db: Connection, correlation_id: str) -> Row[Any] | None:
        is_it = calls.c.correlid == correlation_id
        db.execute(
            update(calls).where(is_it, IS_WAITING).values(self._completion(_CANCELLED, _FIRST_COMPLETION))
        )
        db.execute(update(calls).where(is_it, IS_RUNNING).values(cancel_requested=True))
        return db.execute(select(*_STATUS).where(is_it)).one_or_none()

    def _recover(
        self,
        db: Connection,
        dead: ColumnElement[bool],
        on_interrupt: Mapping[str, OnInterrupt],
        max_interruptions: int,
    ) -> Interrupted:
        rerun, failed, cancelled = [], [], []
        handlers = {}
        for row in db.execute(select(*_DEAD).where(dead).with_for_update()).all():
            handlers[row.correlid] = row.handler
            policy = on_interrupt.get(row.handler, "rerun")
            if row.cancel_requested:
                cancelled.append(row.correlid)
                completion: Completion = _CANCELLED
            elif policy == "fail" or row.interruptions + 1 >= max_interruptions:
                failed.append(row.correlid)
                completion = Failed(problem=_interrupted(row, policy))
            else:
                rerun.append(row.correlid)
                again = {"state": str(CallState.ACCEPTED), "owner": None}
                again |= {"interruptions": row.interruptions + 1}
                db.execute(update(calls).where(calls.c.number == row.number).values(again))
                continue
            ended = self._completion(completion, _AFTER_A_DEAD_RUN)
            db.execute(update(calls).where(calls.c.number == row.number).values(ended))
        return Interrupted(
            rerun=tuple(rerun), failed=tuple(failed), cancelled=tuple(cancelled), handlers=handlers
        )

    def _completion(self, completion: Completion, sequence: int) -> _Values:
        values = completion_values(completion, sequence=sequence, now=self._clock.now())
        return values | {"kept_bytes": LOG_BYTES + values.get("kept_bytes", 0)}

    def _now_s(self) -> float:
        return self._clock.now().timestamp()


_AFTER_A_DEAD_RUN: Final = 1_000_000_000
"""Sequence of a completion after a run whose last number nobody knows: above whatever it was."""

_STATUS: Final = tuple(column for column in calls.c if column.name != "body")
_ADD: Final = {
    name: dialect.insert(calls).on_conflict_do_nothing().returning(*_STATUS)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}
_FIRST_AND_LAST_OPEN: Final = select(
    select(func.min(calls.c.number)).where(IS_OPEN).scalar_subquery(),
    select(func.max(calls.c.number)).where(IS_OPEN).scalar_subquery(),
)
_ASSIGNMENT: Final = tuple(
    calls.c[name]
    for name in (
        *("correlid", "handler", "attempt", "accepted_s", "started_s"),
        *("body", "content_type", "deadline_s", "reply_topic", "traceparent", "signing_keys"),
    )
)
_BEGIN: Final = (
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
_DUE: Final = (
    *("correlid", "state", "attempt", "ended_s", "sequence", "traceparent", "reply_topic", "signing_keys"),
    *("result", "result_type", "outcome"),
)
_DEAD: Final = tuple(
    calls.c[name]
    for name in ("number", "correlid", "handler", "attempt", "interruptions", "cancel_requested")
)


@lru_cache
def _begin_oldest(handlers: Sequence[str]) -> ReturningUpdate[Any]:
    """Return the statement that begins the oldest call that waits for one of these."""
    # Of each handler the oldest, and the oldest of those: none makes the others' search longer.
    number = func.min(calls.c.number).label("number")
    of_each = [select(number).where(IS_WAITING, calls.c.handler == name) for name in handlers]
    oldest = select(func.min(union_all(*of_each).subquery().c.number)).scalar_subquery()
    return _BEGIN.where(calls.c.number == oldest)


def _run(correlation_id: str, attempt: int) -> Sequence[Any]:
    """Return the condition that `attempt` is the one that runs."""
    return (calls.c.correlid == correlation_id, calls.c.attempt == attempt, IS_RUNNING)


def _accept(db: Connection, new: _Values, max_open: int) -> tuple[Row[Any] | None, bool]:
    """Return the row and whether it is new; no row when too many are open."""
    row = db.execute(_ADD[db.dialect.name], new).one_or_none()
    if row is None:
        known = db.execute(select(*_STATUS).where(calls.c.correlid == new["correlid"])).one()
        _add_keys(db, known, new)
        return known, False
    if _count_open(db, max_open) > max_open:
        db.execute(delete(calls).where(calls.c.correlid == new["correlid"]))
        return None, False
    return row, True


def _add_keys(db: Connection, known: Row[Any], new: _Values) -> None:
    """Have what is still to be published signed for who asks again, too; of many keys the newest."""
    keys = list(dict.fromkeys(f"{known.signing_keys} {new['signing_keys']}".split()))
    text = " ".join(keys[-MAX_SIGNING_KEYS:])
    is_same = (known.digest, known.handler) == (new["digest"], new["handler"])
    if is_same and text != known.signing_keys and known.published_s is None:
        db.execute(update(calls).where(calls.c.number == known.number).values(signing_keys=text))


def _count_open(db: Connection, enough: int) -> int:
    """Return how many calls have not ended; something more, if that is no more than `enough` and cheaper."""
    first, last = db.execute(_FIRST_AND_LAST_OPEN).one()
    if first is None:
        return 0
    if last - first < enough:
        return int(last - first + 1)
    return int(db.execute(select(func.count()).where(IS_OPEN)).scalar_one())


def _interrupted(row: Row[Any], policy: OnInterrupt) -> Problem:
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
