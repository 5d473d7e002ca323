"""`longcall serve -- COMMAND` as a process: refused before it is accepted, killed in the middle, finished."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.e2e.processes import WAIT_S, wait_until_gone
from tests.e2e.serving import calling, serve_command, serving

from longcall.contract import Cancelled, Failed, Succeeded

SLOW_ONCE = """#!/bin/sh
echo "::progress 1/2 $$"
test "$LONGCALL_ATTEMPT" = 2 || sleep 1000
test "$1" != fail || { echo "no such day" >&2; exit 3; }
echo "night of $1"
"""


def _script(folder: Path) -> str:
    script = folder / "nightly.sh"
    script.write_text(SLOW_ONCE)
    script.chmod(0o755)
    return str(script)


async def test_command_killed_with_its_service_is_finished_by_the_next(broker: str, tmp_path: Path) -> None:
    words = ("--path", "/serve", "--store", str(tmp_path / "store"), "--", _script(tmp_path), "{date}")
    with serving(broker, *words, target=None) as service:
        async with calling(service, broker) as caller:
            await caller.start("/serve", "a", json={"date": "today"})
            await caller.start("/serve", "b", json={"date": "fail"})
            pids = [await caller.worker(name) for name in ("a", "b")]
        service.end(signal.SIGKILL)
    for pid in pids:
        wait_until_gone(pid)
    with serving(broker, *words, target=None) as service:
        async with calling(service, broker) as caller:
            assert (await caller.completion("a")) == Succeeded(
                data=b"night of today", content_type="text/plain; charset=utf-8"
            )
            failed = await caller.completion("b")
            assert isinstance(failed, Failed)
            assert (failed.problem.detail, failed.problem.retryable) == ("exit status 3: no such day", False)
        assert service.end(signal.SIGTERM) == 0


async def test_delete_ends_the_command(broker: str, tmp_path: Path) -> None:
    with serving(broker, "--store", "memory", "--", _script(tmp_path), "{date}", target=None) as service:
        async with calling(service, broker) as caller:
            location = await caller.start("/serve", "c", json={"date": "today"})
            pid = await caller.worker("c")
            await caller.http.delete(location)
            assert isinstance(await caller.completion("c"), Cancelled)
            wait_until_gone(pid)
        assert service.end(signal.SIGTERM) == 0


async def test_missing_field_is_refused_before_the_call_is_accepted(broker: str, tmp_path: Path) -> None:
    with serving(broker, "--store", "memory", "--", _script(tmp_path), "{date}", target=None) as service:
        async with calling(service, broker) as caller:
            answer = await caller.http.post("/serve?correlid=d", json={"dat": 1})
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
            assert answer.json()["errors"] == [{"pointer": "/date", "detail": "missing"}]
            assert (await caller.http.get("/calls/d")).status_code == 404
        service.end(signal.SIGTERM)


def test_misuse_is_said_in_a_line() -> None:
    for words in (
        (),
        ("m:s", "--", "sh"),
        ("--",),
        ("--", "/nowhere/x"),
        ("--", "{program}"),
        ("--", "sh", "{"),
    ):
        ran = subprocess.run(
            serve_command("--topic", "projects/p/topics/t", *words),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
