"""`longcall serve` that is killed, stopped, started again: what it accepted is not forgotten."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.processes import wait_until_gone
from tests.e2e.serving import HERE, TOPIC, Process, calling, serve_command, serving

from longcall.contract import CallState, CallStatus, Cancelled, Failed, Succeeded


@pytest.fixture
def store(tmp_path: Path) -> tuple[str, str]:
    return ("--store", str(tmp_path / "store"))


async def test_calls_that_run_and_wait_are_done_after_kill_9(
    broker: str,
    store: tuple[str, str],
    tmp_path: Path,
) -> None:
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/waits", "a", json=str(tmp_path / "go"))
            pid = await caller.worker("a")
            for name in ("b", "c", "d"):
                await caller.start("/waits", name, json=str(tmp_path / "go"))
            service.end(signal.SIGKILL)
            wait_until_gone(pid)
    (tmp_path / "go").touch()
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            for name in ("a", "b", "c", "d"):
                assert await caller.completion(name) == Succeeded.of("done")
            status = CallStatus.from_wire((await caller.http.get("/calls/a")).json())
            assert (status.state, status.attempt) == (CallState.SUCCEEDED, 2)
            answer = await caller.http.post("/waits?correlid=a", json=str(tmp_path / "go"))
            assert (answer.status_code, answer.headers["location"]) == (200, "/calls/a")


async def test_handler_can_tell_that_it_is_cancelled(
    broker: str, store: tuple[str, str], tmp_path: Path
) -> None:
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/tells", "a", json=str(tmp_path / "told"))
            await caller.worker("a")
            await caller.http.delete("/calls/a")
            assert isinstance(await caller.completion("a"), Cancelled)
    assert (tmp_path / "told").read_text() == "cancelled: True"


async def test_stopping_service_leaves_to_the_next_start_what_does_not_end_in_time(
    broker: str,
    store: tuple[str, str],
    tmp_path: Path,
) -> None:
    with serving(broker, *store, "--drain", "0") as service:
        async with calling(service, broker) as caller:
            await caller.start("/waits", "a", json=str(tmp_path / "go"))
            pid = await caller.worker("a")
            assert service.end(signal.SIGTERM) == 0
            wait_until_gone(pid)
            assert "is left to the next start" in service.log
    (tmp_path / "go").touch()
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            reports = await caller.until("a", Succeeded)
            assert reports[-1].attempt == 2


async def test_cancellation_that_was_answered_is_carried_out_after_kill_9(
    broker: str,
    store: tuple[str, str],
) -> None:
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/stubborn", "a")
            await caller.worker("a")
            assert (await caller.http.delete("/calls/a")).status_code == 202
            service.end(signal.SIGKILL)
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            assert isinstance(await caller.completion("a"), Cancelled)


async def test_work_that_must_not_run_twice_fails_when_it_was_interrupted(
    broker: str,
    store: tuple[str, str],
) -> None:
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/spin-once", "a")
            await caller.worker("a")
            service.end(signal.SIGKILL)
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            failed = await caller.completion("a")
            assert isinstance(failed, Failed)
            assert (failed.problem.code, failed.problem.retryable) == ("interrupted", True)


async def test_fifty_requests_at_once_start_one_call(broker: str, store: tuple[str, str]) -> None:
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            answers = await asyncio.gather(*(caller.http.post("/echo?correlid=a", json=1) for _ in range(50)))
            assert {answer.status_code for answer in answers} <= {200, 202}
            assert {answer.headers["location"] for answer in answers} == {"/calls/a"}
            assert isinstance(await caller.completion("a"), Succeeded)
            assert service.log.count("working on a") == 1


@pytest.fixture
def running(broker: str, store: tuple[str, str]) -> Iterator[Process]:
    with serving(broker, *store) as service:
        yield service


def test_second_service_on_one_store_is_refused_with_the_remedy(
    running: Process, store: tuple[str, str]
) -> None:
    done = subprocess.run(
        serve_command("workers:service", "--port", "0", "--topic", TOPIC, *store),
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"process {running.popen.pid} works on" in done.stderr
    assert "--store of its own" in done.stderr
    assert "Traceback" not in done.stderr
