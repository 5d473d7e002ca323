"""Jobs of accepted calls, made in batches: each call gets one, whoever else is in its batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from procrastinate import App, PsycopgConnector

from longcall.service.engine.jobs import AWAY, Jobs


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[App]:
    app = App(connector=PsycopgConnector(conninfo=url, min_size=1, max_size=2))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        yield app


def jobs_in(url: str) -> Counter[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT args->>'correlation_id' FROM procrastinate_jobs").fetchall()
    return Counter(name for (name,) in found)


async def test_calls_that_come_at_once_get_a_job_each_and_repeats_none(
    make_postgres: Callable[[], str],
) -> None:
    url = make_postgres()
    async with opened(url) as app:
        jobs = Jobs(app)
        names = [str(number % 20) for number in range(60)]
        await asyncio.gather(*(jobs.add(name, handler="/h") for name in names))
    assert jobs_in(url) == Counter(set(names))


async def test_who_leaves_in_the_middle_takes_no_other_along(make_postgres: Callable[[], str]) -> None:
    url = make_postgres()
    async with opened(url) as app:
        jobs = Jobs(app)
        adding = [asyncio.create_task(jobs.add(str(number), handler="/h")) for number in range(5)]
        await asyncio.sleep(0)  # the first makes them all
        adding[0].cancel()
        results = await asyncio.gather(*adding, return_exceptions=True)
    assert [type(result) for result in results[1:]] == [type(None)] * 4
    assert {name: jobs_in(url)[name] for name in "1234"} == dict.fromkeys("1234", 1)


async def test_everybody_hears_that_the_database_is_away(make_postgres: Callable[[], str]) -> None:
    async with opened(make_postgres()) as app:
        jobs = Jobs(app)
    results = await asyncio.gather(
        *(jobs.add(str(n), handler="/h") for n in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, AWAY) for result in results)
    with pytest.raises(AWAY):
        await jobs.add("later", handler="/h")
