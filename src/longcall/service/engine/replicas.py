"""The engine of replicas on one PostgreSQL: procrastinate hands out calls and knows who is alive.

Each accepted call has a job. A worker that takes the job claims the call in the store
and runs it. The jobs of a worker that is silent for too long are taken back, and what
becomes of their calls is the store's rule. A worker that was only slow finds itself
fenced: its attempt no longer counts.

One replica at a time leads: it publishes completions, takes back jobs, and forgets old
calls. Which one is decided by an advisory lock, which PostgreSQL lets go at once when its
session ends, and by a lease, which runs out when its holder is cut off or stands still.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status

from longcall.service.config import ServiceConfig
from longcall.service.engine.jobs import AWAY, TASK, Jobs, queue_of, why
from longcall.service.engine.patient import PatientJobManager
from longcall.service.engine.port import Workforce
from longcall.service.errors import StoreUnavailable
from longcall.service.handlers import HandlerSpec, OnInterrupt
from longcall.service.observer import Observer
from longcall.service.store import CallStore
from longcall.service.store.postgres import CHANNEL, advisory_key

__all__ = ["ReplicaEngine"]

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
_CONNECT_S: Final = 5.0
"""After so long connecting begins anew: its pauses double, and PostgreSQL may be back before the next."""
_BEATS: Final = 5
"""Signs of life a worker gives before it counts as dead."""
_KNOWN_S: Final = 24 * 3600.0
"""How long a silent worker stays known: it may only be cut off, and without it its jobs are nobody's."""
_TRY_LOCK: Final = """
    SELECT CASE
        WHEN EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) THEN true
        ELSE pg_try_advisory_lock(%(key)s)
    END
"""
_RENEW_LEASE: Final = """
    INSERT INTO longcall_lease AS known (name, owner, until)
    VALUES ('lead', %(owner)s, now() + make_interval(secs => %(for_s)s))
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
    WHERE known.owner = excluded.owner OR known.until < now() OR %(has_lock)s
"""
_IS_UP: Final = "SELECT pg_postmaster_start_time() < now() - make_interval(secs => %(for_s)s)"
_AWAY: Final = (StoreUnavailable, *AWAY)


class ReplicaEngine:
    """One replica's share of the engine."""

    def __init__(self, store: CallStore, config: ServiceConfig, *, observer: Observer) -> None:
        """Connect to nothing yet; `observer` is told of work that died."""
        self._observer = observer
        self._store = store
        self._config = config
        connector = PsycopgConnector(
            conninfo=config.store, min_size=1, max_size=6, timeout=_CONNECT_S, reconnect_timeout=_CONNECT_S
        )
        self._app = App(connector=connector)
        self._app.job_manager = PatientJobManager(connector)
        self._jobs = Jobs(self._app)
        self._on_interrupt: Mapping[str, OnInterrupt] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._cut_off_s = float("-inf")
        self._not_begun: Collection[int] = ()

    async def start(self, workforce: Workforce | None) -> None:
        """Open the queue, and work if there is a workforce; see `Engine.start`."""
        try:
            await self._app.open_async()
            await self._make_schema()
        except _AWAY as error:
            raise StoreUnavailable(f"the queue of calls cannot be opened: {why(error)}") from error
        if workforce is None:
            return
        self._on_interrupt = {path: spec.on_interrupt for path, spec in workforce.handlers.items()}
        self._register(workforce)
        for queues, places in self._pools(workforce.handlers):
            self._workers.append(asyncio.create_task(self._work(queues, places)))
        self._watching = asyncio.create_task(self._watch(workforce))

    async def accepted(self, correlation_id: str, *, handler: str) -> None:
        """Give the call a job; see `Engine.accepted`."""
        try:
            await self._jobs.add(correlation_id, handler=handler)
        except _AWAY as error:
            raise StoreUnavailable(f"the call is stored, but its job is not: {why(error)}") from error

    async def changed(self) -> None:
        """Tell every replica; see `Engine.changed`."""
        try:
            await self._store.notify()
        except StoreUnavailable as error:
            log.warning("Replicas are not told of a change, and see it later: %s", error)

    async def stop(self) -> None:
        """Take no more jobs; those that run go on."""
        self._is_stopping = True
        for worker in self._workers:
            worker.cancel()

    async def aclose(self) -> None:
        """Wait for the workers, which have nothing left to do but to say so, and disconnect."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self._workers:
            _, unheard = await asyncio.wait(self._workers, timeout=_CONNECT_S)
            for worker in unheard:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
        await self._app.close_async()

    async def _make_schema(self) -> None:
        """Make procrastinate's tables where they are not there yet, one replica after the other."""
        async with await psycopg.AsyncConnection.connect(self._config.store) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (advisory_key("queue"),))
            found = await connection.execute("SELECT to_regclass('procrastinate_jobs')")
            if (await found.fetchone() or (None,))[0] is None:
                await self._app.schema_manager.apply_schema_async()

    def _register(self, workforce: Workforce) -> None:
        @self._app.task(name=TASK)
        async def run_call(correlation_id: str, handler: str) -> None:
            work = await self._store.claim_call(correlation_id, owner=workforce.owner)
            if work is None:
                return  # it has ended, or somebody runs it
            has_outcome = await asyncio.shield(workforce.begin(work))
            if not has_outcome:  # for another replica
                try:
                    await self.accepted(correlation_id, handler=handler)
                except StoreUnavailable as error:
                    log.warning("Call %s: another replica takes it over later: %s", correlation_id, error)

    def _pools(self, handlers: Mapping[str, HandlerSpec]) -> list[tuple[list[str], int]]:
        """Return which queues share how many places: those of a kind, and each with a limit of its own."""
        most = {"process": self._config.max_processes, "task": self._config.max_tasks}
        pools = []
        for kind, places in most.items():
            free = [
                path for path, spec in handlers.items() if spec.isolation == kind and not spec.max_running
            ]
            pools.append(([queue_of(path) for path in free], places))
        pools += [([queue_of(path)], spec.max_running) for path, spec in handlers.items() if spec.max_running]
        return [(queues, places) for queues, places in pools if queues]

    async def _work(self, queues: list[str], places: int) -> None:
        """Work off jobs until cancelled; then end when those that run have."""
        beat_s = self._config.takeover_s / _BEATS
        while True:
            try:
                return await self._app.run_worker_async(
                    queues=queues,
                    concurrency=places,
                    install_signal_handlers=False,
                    delete_jobs="always",
                    update_heartbeat_interval=beat_s,
                    stalled_worker_timeout=_KNOWN_S,
                )
            except _AWAY as error:
                if self._is_stopping:  # it cannot even say that it ends
                    break
                log.error("Calls wait: the queue cannot be read: %s", why(error))
                await asyncio.sleep(_RETRY_S)

    async def _watch(self, workforce: Workforce) -> None:
        """Listen for what changes, and lead if nobody else does."""
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._config.store, autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    while True:
                        await self._look(connection, workforce)
            except _AWAY as error:
                self._cut_off_s = asyncio.get_running_loop().time()
                log.error("This replica is cut off from the others: %s", why(error))
            finally:
                await workforce.follow()
            await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311 # no secret

    async def _look(self, connection: psycopg.AsyncConnection, workforce: Workforce) -> None:
        """Do what is to be done, then wait for a change, or for the next turn."""
        if await self._leads(connection, workforce.owner):
            await workforce.lead()
            await self._begin_again()
            if await self._hears(connection):
                await self._take_back()
        else:
            await workforce.follow()
        turn_s = self._config.takeover_s / _BEATS
        loop = asyncio.get_running_loop()
        end_s = loop.time() + turn_s
        while (left_s := end_s - loop.time()) > 0:
            await workforce.stop_cancelled()
            workforce.publish_due()
            async for _change in connection.notifies(timeout=left_s, stop_after=1):
                pass

    async def _leads(self, connection: psycopg.AsyncConnection, owner: str) -> bool:
        """Try to lead, or to go on leading, until some turns from now."""
        found = await connection.execute(_TRY_LOCK, {"key": advisory_key("lead")})
        has_lock = (await found.fetchone() or (False,))[0]
        renewal = {"owner": owner, "has_lock": has_lock, "for_s": self._config.takeover_s}
        return (await connection.execute(_RENEW_LEASE, renewal)).rowcount == 1

    async def _hears(self, connection: psycopg.AsyncConnection) -> bool:
        """Tell whether the silent are dead: all were silent while PostgreSQL, or the way to it, was away."""
        for_s = self._config.takeover_s + 2 * _CONNECT_S  # who tries to connect is silent, too
        found = await connection.execute(_IS_UP, {"for_s": for_s})
        is_up = (await found.fetchone() or (False,))[0]
        return is_up and asyncio.get_running_loop().time() - self._cut_off_s >= for_s

    async def _begin_again(self) -> None:
        """Give calls to somebody else that wait since the last turn although a worker has taken their job.

        PostgreSQL went away in between: the worker never heard of the job, or could not begin the call.
        """
        taken = await self._store.taken()
        held_up = taken.keys() & self._not_begun
        self._not_begun = taken.keys() - held_up
        for number in held_up:
            await self._replace_job(number, *taken[number])

    async def _take_back(self) -> None:
        """Give the calls of dead workers, and calls that have no job, to somebody else."""
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._config.takeover_s):
            name, handler = (str(job.task_kwargs[key]) for key in ("correlation_id", "handler"))
            await self._recover(name)
            assert job.id is not None  # it comes from the database
            await self._replace_job(job.id, name, handler)
        silent_s = self._config.takeover_s + 3 * self._config.heartbeat_s
        forsaken = await self._store.forsaken(waiting_s=self._config.takeover_s, silent_s=silent_s)
        for name, handler in forsaken.items():
            await self._recover(name)
            await self.accepted(name, handler=handler)

    async def _replace_job(self, number: int, correlation_id: str, handler: str) -> None:
        """Make a new job in place of one that is held up, not a retry: workers hear of it at once."""
        with suppress(ConnectorException):  # somebody else has taken it back
            await self._app.job_manager.finish_job_by_id_async(number, status=Status.FAILED, delete_job=True)
        await self.accepted(correlation_id, handler=handler)

    async def _recover(self, correlation_id: str) -> None:
        found = await self._store.recover(
            self._on_interrupt,
            max_interruptions=self._config.max_interruptions,
            only=correlation_id,
            silent_s=self._config.takeover_s / 2,
        )
        found.tell(self._observer)
