"""`longcall serve` that is killed, stopped, started again: what it accepted is not forgotten."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from tests.e2e.polling import until, wait_until
from tests.e2e.processes import wait_until_gone
from tests.e2e.serving import HERE, TOPIC, Process, calling, serve_command, serving

from longcall.cli.stack.ports import free_ports
from longcall.contract import (
    CallState,
    CallStatus,
    Cancelled,
    Failed,
    JsonValue,
    Log,
    LogLine,
    ReportBody,
    Succeeded,
)

WAIT_S = 60.0


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


async def test_what_was_said_before_kill_9_is_still_there_and_says_who_said_it(
    broker: str, store: tuple[str, str], tmp_path: Path
) -> None:
    said: list[dict[str, JsonValue]] = []
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/says", "a", json=str(tmp_path / "go"))
            pid = await caller.worker("a")
            async with asyncio.timeout(WAIT_S):
                while len(said) < 2:
                    said = (await caller.http.get("/calls/a/log")).json()["lines"]
            service.end(signal.SIGKILL)
            wait_until_gone(pid)
    (tmp_path / "go").touch()
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            reports = await caller.until("a", Succeeded)
            log = (await caller.http.get("/calls/a/log")).json()["lines"]
            assert log[:2] == said
            assert [(line["number"], line["attempt"], line["message"]) for line in log] == [
                (1, 1, "attempt 1"),
                (2, 1, "reads red"),
                (3, 2, "attempt 2"),
                (4, 2, "reads red"),
                (5, 2, "done"),
            ]
            assert [line.message for report in reports for line in lines_of(report.body)][-1] == "done"
            assert (await caller.http.get("/calls/a/log?after=4")).json()["lines"] == log[4:]
            assert "reads" not in service.log


async def test_handler_that_talks_without_end_is_held_to_some_lines(
    broker: str, store: tuple[str, str]
) -> None:
    with serving(broker, *store) as service:
        async with calling(service, broker) as caller:
            await caller.start("/talks", "a")
            reports = await caller.until("a", Succeeded)
            log = (await caller.http.get("/calls/a/log")).json()["lines"]
    published = [line.message for report in reports for line in lines_of(report.body)]
    assert published == [line["message"] for line in log]
    assert published[0] == "0 of very many"
    assert 200 < len(published) < 10_000
    left_out = sum(int(text.split()[0][1:]) for text in published if "left out" in text)
    assert left_out + sum("of very many" in text for text in published) == 1_000_000


def lines_of(body: ReportBody) -> Sequence[LogLine]:
    return body.lines if isinstance(body, Log) else ()


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
    assert "postgresql://" in done.stderr
    assert "--store of its own" in done.stderr
    assert "Traceback" not in done.stderr


async def test_of_several_uvicorn_workers_on_one_folder_one_serves_and_the_others_say_why(
    broker: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("from workers import service\n\napp = service.asgi()\n")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}:{HERE}",
        "PUBSUB_EMULATOR_HOST": broker,
        "LONGCALL_TOPIC": TOPIC,
        "LONGCALL_STORE": str(tmp_path / "store"),
    }
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "app:app", "--workers", "2", "--port", str(port)]
    log = tmp_path / "log"
    with log.open("wb") as file:
        uvicorn = subprocess.Popen(  # noqa: ASYNC220 # it is started at once
            command, env=environment, stderr=file, start_new_session=True
        )
    try:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

            async def has_ended() -> bool:
                status = (await http.get("/calls/a")).json()
                return (status["state"], status["attempt"]) == ("succeeded", 1)

            wait_until(lambda: "works on" in log.read_text())
            answers = await asyncio.gather(*(http.post("/echo?correlid=a", json=1) for _ in range(10)))
            assert {answer.headers["location"] for answer in answers} == {"/calls/a"}
            await until(has_ended)
    finally:
        os.killpg(uvicorn.pid, signal.SIGKILL)
        uvicorn.wait()
