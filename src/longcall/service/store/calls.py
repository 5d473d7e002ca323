"""What is true about each call. Every change of a call goes through `CallStore`, as one transaction.

Writes of a run of work carry its attempt: those of a run that another has
superseded, or whose call has ended, change nothing and say so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVar

from sqlalchemy import (
    Connection,
    and_,
    func,
    or_,
    select,
    text,
    update,
)

from longcall._core.clock import Clock
from longcall.contract import (
    CallRequest,
    CallState,
    Completion,
    Failed,
    LogLine,
    Progress,
)
from longcall.service.errors import CallConflict, ServiceUnavailable, UnknownCall
from longcall.service.handlers import OnInterrupt
from longcall.service.store.acceptance import accept
from longcall.service.store.attempts import BEGIN, begin_oldest, is_run, recover
from longcall.service.store.database import Database
from longcall.service.store.endings import (
    AFTER_A_DEAD_RUN,
    CANCELLED,
    FIRST_COMPLETION,
    ending_values,
    forget,
)
from longcall.service.store.files import expired_files, forget_files, note_file
from longcall.service.store.levels import Levels, read_levels
from longcall.service.store.log import LOG_BYTES, add_lines, read_lines
from longcall.service.store.rows import (
    STATUS,
    CallRow,
    Values,
    completion_values,
    progress_value,
    request_values,
    to_assignment,
    to_due,
    to_stored_call,
    to_summary,
)
from longcall.service.store.tables import IS_DUE, IS_RUNNING, IS_WAITING, calls
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

_FORSAKEN_AT_ONCE: Final = 100
_HAS_NO_JOB: Final = (
    "NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS job WHERE job.lock = longcall_calls.correlid "
    "AND job.status IN ('todo', 'doing'))"
)
_TAKEN: Final = text(
    "SELECT job.id, call.correlid, call.handler FROM procrastinate_jobs AS job "
    "JOIN longcall_calls AS call ON call.correlid = job.lock "
    "WHERE job.status = 'doing' AND call.state = 'accepted' ORDER BY job.id LIMIT 100"
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
        row, is_new = await self._write(lambda db: accept(db, new, max_open))
        if row is None:
            raise ServiceUnavailable("too many calls are waiting: send the same request again later")
        if (row.digest, row.handler) != (new["digest"], handler):
            raise CallConflict("this correlation id is known with other arguments: a new call needs a new id")
        return to_stored_call(row), is_new

    async def get(self, correlation_id: str) -> StoredCall | None:
        """Return a call; None when it is unknown, or ended long ago."""
        query = select(*STATUS).where(calls.c.correlid == correlation_id)
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
        columns = ("number", "correlid", "handler", "caller", "state", "attempt")
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
        begin, values = begin_oldest(tuple(sorted(handlers))), {"by": owner, "now_s": self._now_s()}
        row = await self._write(lambda db: db.execute(begin, values).one_or_none())
        return None if row is None else to_assignment(row)

    async def claim_call(self, correlation_id: str, *, owner: str) -> Assignment | None:
        """Begin the next attempt of this call; None: it does not wait."""
        begin = BEGIN.where(calls.c.correlid == correlation_id, IS_WAITING)
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
        values: Values = {"heartbeat_s": self._now_s()}
        if progress is not None:
            values["progress"] = progress_value(progress)
        change = update(calls).where(*is_run(correlation_id, attempt)).values(values)

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
        values = self._ending(completion, sequence)
        if traceparent:
            values = {**values, "traceparent": traceparent}
        return await self._change(correlation_id, attempt, values)

    async def release(self, correlation_id: str, *, attempt: int) -> bool:
        """Give up a run without an outcome: the call waits again, or is cancelled if that was asked for."""
        run = is_run(correlation_id, attempt)
        cancelled = self._ending(CANCELLED, AFTER_A_DEAD_RUN)
        waiting = {"state": str(CallState.ACCEPTED), "owner": None}

        def release(db: Connection) -> bool:
            ended = db.execute(update(calls).where(*run, calls.c.cancel_requested).values(cancelled))
            return bool(ended.rowcount or db.execute(update(calls).where(*run).values(waiting)).rowcount)

        return await self._write(release)

    async def end_waiting(self, completion: Completion) -> int:
        """End every call that waits, for there will be nobody to run it; return how many."""
        ended = update(calls).where(IS_WAITING).values(self._ending(completion, FIRST_COMPLETION))
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
        return await self._write(
            lambda db: recover(
                db, dead, on_interrupt, max_interruptions=max_interruptions, now=self._clock.now()
            )
        )

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

    async def taken(self) -> Mapping[int, tuple[str, str]]:
        """Return calls, with their handlers, that wait although a worker has their job; by the job's number.

        Of a store whose engine is procrastinate's; a hundred at most.
        """
        rows = await self._database.read(lambda db: db.execute(_TAKEN).all())
        return {row.id: (row.correlid, row.handler) for row in rows}

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
        before_s = self._now_s() - max_age_s
        return await self._write(
            lambda db: forget(db, max_ended=max_ended, max_bytes=max_bytes, before_s=before_s)
        )

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

    async def _change(self, correlation_id: str, attempt: int, values: Values) -> bool:
        """Change a call if `attempt` is the one that runs."""
        change = update(calls).where(*is_run(correlation_id, attempt)).values(values)
        return await self._write(lambda db: bool(db.execute(change).rowcount))

    def _cancel(self, db: Connection, correlation_id: str) -> CallRow | None:
        is_it = calls.c.correlid == correlation_id
        db.execute(update(calls).where(is_it, IS_WAITING).values(self._ending(CANCELLED, FIRST_COMPLETION)))
        db.execute(update(calls).where(is_it, IS_RUNNING).values(cancel_requested=True))
        return db.execute(select(*STATUS).where(is_it)).one_or_none()

    def _ending(self, completion: Completion, sequence: int) -> Values:
        return ending_values(completion, sequence=sequence, now=self._clock.now())

    def _now_s(self) -> float:
        return self._clock.now().timestamp()


_DUE: Final = (
    *("correlid", "state", "attempt", "ended_s", "sequence", "traceparent", "reply_topic", "signing_keys"),
    *("result", "result_type", "outcome"),
)
