"""PostgreSQL stops under a service and comes back: what was accepted is done, the rest is told to wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from httpx2 import AsyncClient
from tests.e2e.polling import until, wait_until
from tests.e2e.serving import Process, calling, serving
from tests.postgres import Postgres

from longcall.contract import Succeeded

NAMES = ("works", "ends", "waits", "refused")
LISTENS_FOR_CALLS = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%procrastinate%'"
BEATS_FOR_LONG = """
    SELECT max(last_heartbeat) > pg_postmaster_start_time() + interval '5 s' FROM procrastinate_workers
"""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


async def tells(url: str, query: str) -> bool:
    """Return what a query returns, of the server's own view of things."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        (answer,) = await (await connection.execute(query)).fetchone() or (False,)
    return bool(answer)


async def is_ready(http: AsyncClient) -> bool:
    return (await http.get("/ready")).status_code == 200


async def test_calls_outlive_a_postgres_that_is_away(broker: str, postgres: Postgres, tmp_path: Path) -> None:
    """For longer than the silent count as alive; one call works on, one ends, one has no place yet."""
    store = ("--store", postgres.url, "--takeover", "2", "--max-processes", "2")
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            for name in ("works", "ends"):
                await caller.start("/waits", name, json=str(tmp_path / name))
                await caller.worker(name)
            await caller.start("/echo", "waits", json=1)

            postgres.stop()
            await until_refused(caller.http, service)
            (tmp_path / "ends").touch()
            service.wait_for_log("Call ends: its outcome waits")
            wait_until(lambda: service.log.count("cut off from the others") > 4)  # a try a second
            postgres.start()

            assert isinstance(await caller.completion("ends"), Succeeded)
            assert isinstance(await caller.completion("waits"), Succeeded)
            await until(lambda: is_ready(caller.http))
            await until(lambda: tells(postgres.url, LISTENS_FOR_CALLS))
            await until(lambda: tells(postgres.url, BEATS_FOR_LONG))
            await caller.start("/echo", "refused", json=1)
            assert isinstance(await caller.completion("refused"), Succeeded)
            (tmp_path / "works").touch()
            assert isinstance(await caller.completion("works"), Succeeded)
            assert {(await caller.http.get(f"/calls/{name}")).json()["attempt"] for name in NAMES} == {1}
            assert service.log.count("working on refused") == 1


async def test_service_ends_well_while_postgres_is_away(
    broker: str, postgres: Postgres, tmp_path: Path
) -> None:
    """What it could not store, the next one does again."""
    store = ("--store", postgres.url, "--takeover", "2", "--drain", "1")
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/waits", "a", json=str(tmp_path / "go"))
            await caller.worker("a")
            postgres.stop()
            assert service.end(signal.SIGTERM) == 0
            postgres.start()
            (tmp_path / "go").touch()
            with serving(broker, *store):
                reports = await caller.until("a", Succeeded)
                assert reports[-1].attempt == 2


async def until_refused(http: AsyncClient, service: Process) -> None:
    """See that it says so, of whatever it is asked."""
    for answer in (
        await http.post("/echo?correlid=refused", json=1),
        await http.get("/calls/works"),
        await http.get("/calls"),
        await http.delete("/calls/waits"),
    ):
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "the call store cannot be used" in answer.json()["detail"]
    assert (await http.get("/ready")).status_code == 503
    assert (await http.get("/health")).status_code == 200
    assert service.popen.poll() is None
