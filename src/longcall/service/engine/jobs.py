"""Gives accepted calls their jobs in procrastinate's queue: what is asked for at once is one transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psycopg
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued, ProcrastinateException
from procrastinate.jobs import Job

__all__ = ["AWAY", "TASK", "Jobs", "queue_of", "why"]

TASK: Final = "longcall.run_call"
"""The name of procrastinate's task that runs a call."""
AWAY: Final = (ProcrastinateException, psycopg.Error, OSError)
"""What it raises when the database is away."""

_MAX_QUEUE_NAME: Final = 100


def why(error: BaseException) -> str:
    """Return what the database said, in one line; procrastinate's own errors do not repeat it."""
    said = error.__cause__ or error
    return str(said).strip().partition("\n")[0] or repr(said)


def queue_of(handler: str) -> str:
    """Return the name of a handler's queue."""
    return handler if len(handler) <= _MAX_QUEUE_NAME else hashlib.sha256(handler.encode()).hexdigest()


@dataclass(slots=True, eq=False)
class _Wanted:
    job: Job
    is_there: bool = False
    error: Exception | None = None

    @property
    def is_settled(self) -> bool:
        return self.is_there or self.error is not None


class Jobs:
    """The jobs of calls that wait, made in batches: one is made while the next gathers."""

    def __init__(self, app: App) -> None:
        """Use an application that its owner opens and closes."""
        self._app = app
        self._waiting: list[_Wanted] = []
        self._making = asyncio.Lock()

    async def add(self, correlation_id: str, *, handler: str) -> None:
        """Give a call a job, and return when it is in the queue. A repeat changes nothing.

        Raises one of `AWAY` when the database is; the job may be there all the same.
        """
        deferrer = self._app.configure_task(
            TASK, queue=queue_of(handler), lock=correlation_id, queueing_lock=correlation_id
        )
        wanted = _Wanted(deferrer.make_new_job(correlation_id=correlation_id, handler=handler))
        self._waiting.append(wanted)
        async with self._making:
            if not wanted.is_settled:
                await self._make_all()
        if wanted.error is not None:
            raise wanted.error

    async def _make_all(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            await self._make(batch)
        except AWAY as error:
            for wanted in batch:
                wanted.error = error
        finally:
            # After a cancellation: whoever waits for the lock next makes them.
            self._waiting = [wanted for wanted in batch if not wanted.is_settled] + self._waiting

    async def _make(self, batch: Sequence[_Wanted]) -> None:
        manager = self._app.job_manager
        try:
            await manager.batch_defer_jobs_async(jobs=[wanted.job for wanted in batch])
        except AlreadyEnqueued:  # one of them, which spoils the whole batch
            for wanted in batch:
                with suppress(AlreadyEnqueued):
                    await manager.defer_job_async(wanted.job)
        for wanted in batch:
            wanted.is_there = True
