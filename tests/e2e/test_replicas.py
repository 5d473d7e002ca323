"""Replicas on one PostgreSQL: any answers for any call, and a dead one's calls are taken over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from httpx2 import AsyncClient
from tests.e2e.polling import until
from tests.e2e.processes import WAIT_S, parent_of, wait_until_gone
from tests.e2e.serving import HERE, Process, calling, longcall, serving, working

from longcall.cli.stack.ports import free_ports
from longcall.contract import CallState, CallStatus, Cancelled, Failed, Succeeded
from longcall.testing import running_broker


@pytest.fixture
def store(make_postgres: Callable[[], str]) -> tuple[str, ...]:
    return ("--store", make_postgres(), "--takeover", "2")


@dataclass(frozen=True)
class Pair:
    """Two replicas, which tests that end neither of them share."""

    broker: str
    one: Process
    two: Process


@pytest.fixture(scope="module")
def pair(make_postgres: Callable[[], str]) -> Iterator[Pair]:
    store = ("--store", make_postgres(), "--takeover", "2")
    with running_broker() as broker, serving(broker, *store) as one, serving(broker, *store) as two:
        yield Pair(broker, one, two)


async def test_any_replica_answers_for_any_call(pair: Pair, tmp_path: Path) -> None:
    async with calling(pair.one, pair.broker) as first, AsyncClient(base_url=pair.two.url) as second:
        await first.start("/waits", "any", json=str(tmp_path / "go"))
        await first.worker("any")
        status = CallStatus.from_wire((await second.get("/calls/any")).json())
        assert status.state is CallState.RUNNING
        again = await second.post("/waits?correlid=any", json=str(tmp_path / "go"))
        assert (again.status_code, again.headers["location"]) == (202, "/calls/any")
        assert (await second.post("/waits?correlid=any", json=1)).status_code == 422
        assert (await second.delete("/calls/any")).status_code == 202
        assert isinstance(await first.completion("any"), Cancelled)


async def test_fifty_requests_at_two_replicas_start_one_call(pair: Pair) -> None:
    async with calling(pair.one, pair.broker) as first, AsyncClient(base_url=pair.two.url) as second:
        answers = await asyncio.gather(
            *(http.post("/echo?correlid=fifty", json=1) for http in (first.http, second) * 25)
        )
        assert {answer.status_code for answer in answers} <= {200, 202}
        assert isinstance(await first.completion("fifty"), Succeeded)
        assert (pair.one.log + pair.two.log).count("working on fifty") == 1


def which_works_on(name: str, *replicas: Process) -> tuple[Process, Process]:
    """Return the replica that runs a call, and the other one."""
    one, two = replicas
    return (one, two) if parent_of(int(name)) == one.popen.pid else (two, one)


async def until_attempt(http: AsyncClient, name: str, attempt: int) -> None:
    async def is_so() -> bool:
        return CallStatus.from_wire((await http.get(f"/calls/{name}")).json()).attempt == attempt

    await until(is_so)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_calls_of_a_replica_that_goes_are_taken_over(
    broker: str, store: tuple[str, ...], tmp_path: Path, how: signal.Signals
) -> None:
    with serving(broker, *store, "--drain", "0") as one, serving(broker, *store, "--drain", "0") as two:
        async with calling(one, broker) as first, AsyncClient(base_url=two.url) as second:
            await first.start("/waits", "a", json=str(tmp_path / "go"))
            pid = await first.worker("a")
            working, other = which_works_on(str(pid), one, two)
            http = second if other is two else first.http
            working.end(how)
            wait_until_gone(pid)
            (tmp_path / "go").touch()
            reports = await first.until("a", Succeeded)
            assert reports[-1].attempt == 2
            assert CallStatus.from_wire((await http.get("/calls/a")).json()).attempt == 2


async def test_replica_that_was_only_slow_finds_itself_fenced(pair: Pair, tmp_path: Path) -> None:
    async with calling(pair.one, pair.broker) as first, AsyncClient(base_url=pair.two.url) as second:
        await first.start("/waits", "slow", json=str(tmp_path / "go"))
        pid = await first.worker("slow")
        working, other = which_works_on(str(pid), pair.one, pair.two)
        http = second if other is pair.two else first.http
        os.kill(working.popen.pid, signal.SIGSTOP)
        try:
            await until_attempt(http, "slow", 2)
        finally:
            os.kill(working.popen.pid, signal.SIGCONT)
        (tmp_path / "go").touch()
        reports = await first.until("slow", Succeeded)
        assert reports[-1].attempt == 2
        working.wait_for_log("superseded")
        assert [r.attempt for r in reports if isinstance(r.body, Succeeded)] == [2]


async def test_worker_that_another_replica_took_for_dead_goes_on(
    broker: str, store: tuple[str, ...], tmp_path: Path
) -> None:
    """As a replica may that starts right after an outage, when nobody has given a sign of life for long."""
    with serving(broker, *store, "--max-processes", "2") as service:
        async with calling(service, broker) as caller:
            await caller.start("/waits", "works", json=str(tmp_path / "go"))
            await caller.worker("works")
            async with await psycopg.AsyncConnection.connect(store[1]) as connection:
                await connection.execute("DELETE FROM procrastinate_workers")
            await caller.start("/echo", "new", json=1)
            assert isinstance(await caller.completion("new"), Succeeded)
            (tmp_path / "go").touch()
            reports = await caller.until("works", Succeeded)
            assert reports[-1].attempt == 1


async def test_web_and_worker_scale_apart_and_the_worker_can_be_watched(
    broker: str, store: tuple[str, ...]
) -> None:
    (port,) = free_ports(1)
    with serving(broker, *store, "--no-work") as web:
        async with calling(web, broker) as caller, AsyncClient(base_url=f"http://127.0.0.1:{port}") as watch:
            await caller.start("/echo", "a", json=1)
            assert CallStatus.from_wire((await caller.http.get("/calls/a")).json()).attempt == 0
            with working(broker, "workers:service", *store, "--listen", f":{port}") as process:
                assert isinstance(await caller.completion("a"), Succeeded)
                assert [(await watch.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
                metrics = (await watch.get("/metrics")).text
                assert 'longcall_attempts_started_total{handler="/echo"} 1.0' in metrics
                for path in ("/calls", "/calls/", "/calls/a", "/calls/a/log"):
                    assert (await watch.get(path)).status_code == 404
                assert (await watch.post("/echo?correlid=b")).status_code == 404
                process.send_signal(signal.SIGTERM)
                _, log = process.communicate(timeout=WAIT_S)
                assert process.returncode == 0, log
                assert "working on a" in log
            assert "working on a" not in web.log


async def test_command_has_workers_of_its_own(broker: str, store: tuple[str, ...]) -> None:
    command = (*store, "--", "sh", "-c", "echo $PPID")
    with serving(broker, "--no-work", *command, target=None) as web, working(broker, *command) as process:
        async with calling(web, broker) as caller:
            await caller.start("/serve", "a")
            assert isinstance(await caller.completion("a"), Succeeded)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, log


@pytest.mark.parametrize("arguments", [("worker",), ("serve", "--no-work", "--port", "0")])
def test_worker_alone_needs_a_store_that_is_shared(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command, *options = arguments
    done = subprocess.run(
        longcall(command, "workers:service", *options),
        cwd=HERE,
        env={**os.environ, "PUBSUB_EMULATOR_HOST": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "a folder belongs to one process" in done.stderr


LOST = "DELETE FROM procrastinate_jobs"
GONE_TO_NOBODY = """
    WITH worker AS (INSERT INTO procrastinate_workers VALUES (DEFAULT, 'infinity') RETURNING id)
    UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT id FROM worker)
"""
"""A worker that lives has asked for a job, and PostgreSQL went away before it had the answer."""


@pytest.mark.parametrize("what_happened", [LOST, GONE_TO_NOBODY], ids=["lost", "gone to nobody"])
async def test_accepted_call_whose_job_nobody_has_is_given_to_somebody(
    broker: str, make_postgres: Callable[[], str], what_happened: str
) -> None:
    url = make_postgres()
    store = ("--store", url, "--takeover", "0.5")
    with serving(broker, *store, "--no-work") as web:
        async with calling(web, broker) as caller:
            await caller.start("/echo", "a", json=1)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(what_happened)
            with serving(broker, *store):
                assert isinstance(await caller.completion("a"), Succeeded)


async def test_work_that_must_not_run_twice_fails_when_its_replica_died(
    broker: str, store: tuple[str, ...]
) -> None:
    with serving(broker, *store) as one:
        async with calling(one, broker) as caller:
            await caller.start("/spin-once", "a")
            await caller.worker("a")
            one.end(signal.SIGKILL)
            with serving(broker, *store):
                async with asyncio.timeout(WAIT_S):
                    failed = await caller.completion("a")
                assert isinstance(failed, Failed)
                assert failed.problem.code == "interrupted"
