"""PostgreSQL stops under a service and comes back: what was accepted is done, the rest is told to wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from httpx2 import AsyncClient
from tests.e2e.polling import until, wait_until
from tests.e2e.processes import parent_of, wait_until_gone
from tests.e2e.serving import Caller, Process, calling, serving, working
from tests.postgres import Postgres

from longcall.cli.stack.ports import free_ports
from longcall.contract import Cancelled, Failed, Report, Succeeded, is_completion

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
            assert "Traceback" not in service.log
            postgres.start()
            (tmp_path / "go").touch()
            with serving(broker, *store):
                reports = await caller.until("a", Succeeded)
                assert reports[-1].attempt == 2


async def test_only_who_died_meanwhile_is_taken_over(broker: str, postgres: Postgres, tmp_path: Path) -> None:
    """Nobody could give a sign of life for longer than a takeover: one works on, the other was killed."""
    store = ("--store", postgres.url, "--takeover", "2", "--max-processes", "1")
    with serving(broker, *store) as one, serving(broker, *store) as two:
        async with calling(one, broker) as caller, AsyncClient(base_url=two.url) as second:
            pids = {}
            for name in ("a", "b"):
                await caller.start("/waits", name, json=str(tmp_path / name))
                pids[name] = await caller.worker(name)
            lives, dies = sorted(pids, key=lambda name: parent_of(pids[name]) == one.popen.pid)

            postgres.stop()
            wait_until(lambda: two.log.count("cut off from the others") > 6)  # a try a second
            one.end(signal.SIGKILL)
            wait_until_gone(pids[dies])
            (tmp_path / dies).touch()
            postgres.start()

            two.wait_for_log(f"Call {dies}: its process died")
            assert (await second.get(f"/calls/{lives}")).json()["attempt"] == 1
            (tmp_path / lives).touch()
            for name, attempt in ((lives, 1), (dies, 2)):
                assert [r.attempt for r in await completions(caller, name)] == [attempt]
        assert f"Call {lives}: its process died" not in two.log


async def completions(caller: Caller, name: str) -> list[Report]:
    """Wait for a call's end; return what was published of it, once, however often that was."""
    reports = await caller.until(name, (Succeeded, Failed, Cancelled))
    return list({r.id: r for r in reports if is_completion(r.body)}.values())


async def test_web_and_worker_outlive_a_postgres_that_is_away(
    broker: str, postgres: Postgres, tmp_path: Path
) -> None:
    store = ("--store", postgres.url, "--takeover", "2")
    (port,) = free_ports(1)
    with (
        serving(broker, *store, "--no-work") as web,
        working(broker, "workers:service", *store, "--listen", f":{port}") as worker,
    ):
        async with calling(web, broker) as caller, AsyncClient(base_url=f"http://127.0.0.1:{port}") as watch:
            await caller.start("/waits", "works", json=str(tmp_path / "go"))
            await caller.worker("works")

            postgres.stop()
            await until_refused(caller.http, web)
            assert [(await watch.get(path)).status_code for path in ("/health", "/ready")] == [200, 503]
            postgres.start()

            await until(lambda: is_ready(caller.http))
            await until(lambda: is_ready(watch))
            await caller.start("/echo", "refused", json=1)
            (tmp_path / "go").touch()
            for name in ("refused", "works"):
                assert [r.attempt for r in await completions(caller, name)] == [1]
        assert worker.poll() is None


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
        assert answer.headers["retry-after"] == "5"
        assert "the call store cannot be used" in answer.json()["detail"]
    assert (await http.get("/ready")).status_code == 503
    assert (await http.get("/health")).status_code == 200
    assert service.popen.poll() is None
