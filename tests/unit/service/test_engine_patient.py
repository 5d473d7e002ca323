"""A worker of the queue goes on when PostgreSQL is away, or does not know it any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job, Status

from longcall.service.engine.jobs import Jobs, why
from longcall.service.engine.patient import PatientJobManager


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[App]:
    connector = PsycopgConnector(conninfo=url, min_size=1, max_size=2)
    queue = App(connector=connector)
    queue.job_manager = PatientJobManager(connector)
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()
        yield queue


async def test_worker_that_misses_its_database_goes_on(make_postgres: Callable[[], str]) -> None:
    async with opened(make_postgres()) as queue:
        manager, job = queue.job_manager, await a_job_of(queue)
        known = await manager.register_worker()
        assert isinstance(queue.connector, PsycopgConnector)
        await queue.connector.pool.close()
        assert await manager.fetch_job(["/h"], known) is None
        await manager.update_heartbeat(known)
        await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)


async def test_worker_that_was_deleted_registers_again(make_postgres: Callable[[], str]) -> None:
    async with opened(make_postgres()) as queue:
        manager = queue.job_manager
        await Jobs(queue).add("a", handler="/h")
        deleted = await manager.register_worker()
        await manager.unregister_worker(deleted)
        assert await manager.fetch_job(["/h"], deleted) is None
        job = await manager.fetch_job(["/h"], deleted)
        assert job is not None
        assert job.lock == "a"


async def test_job_that_somebody_else_has_finished_stays_so(make_postgres: Callable[[], str]) -> None:
    async with opened(make_postgres()) as queue:
        job = await a_job_of(queue)
        for _ in range(2):
            await queue.job_manager.finish_job(job, Status.SUCCEEDED, delete_job=True)


async def a_job_of(queue: App) -> Job:
    await Jobs(queue).add("a", handler="/h")
    (job,) = await queue.job_manager.list_jobs_async()
    return job


def test_reason_is_a_line_even_where_the_error_has_none() -> None:
    assert why(OSError()) == "OSError()"
    assert why(OSError("one\ntwo")) == "one"
