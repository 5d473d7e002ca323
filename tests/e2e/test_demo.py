"""`longcall demo` as a person runs it: it succeeds, or says what failed, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(240),
]

_TOKEN_VARIABLE = "DEMO_TEST_TOKEN"


class RunningDemo:
    """One `longcall demo`, with an empty home directory and a folder for temporary files of its own."""

    def __init__(self, tmp_path: Path, *options: str) -> None:
        self.home = tmp_path / "home"
        self.temporary = tmp_path / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()
        self._token = uuid.uuid4().hex
        self._output = tmp_path / "output.txt"
        environment = os.environ | {"HOME": str(self.home), "TMPDIR": str(self.temporary)}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "longcall.cli.main", "demo", *options],
                env=environment | {_TOKEN_VARIABLE: self._token},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_line(self, words: str) -> None:
        wait_until(lambda: words in self.output or self.process.poll() is not None, words)
        assert words in self.output, self.output

    def processes(self) -> list[int]:
        """Every running process that descends from this demo, whoever its parent is by now."""
        mark = f"{_TOKEN_VARIABLE}={self._token}".encode()
        return [pid for pid in all_pids() if mark in environment_of(pid).split(b"\0")]

    def pid_of(self, *arguments: str) -> int:
        wanted = "\0".join(arguments).encode()
        for pid in self.processes():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if wanted in command and b"guard.py" not in command:
                return pid
        raise AssertionError(f"no process {arguments}")


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., RunningDemo]]:
    started: list[RunningDemo] = []

    def start(*options: str) -> RunningDemo:
        started.append(RunningDemo(tmp_path, *options))
        return started[0]

    yield start
    for demo in started:
        demo.process.kill()
        demo.process.wait()
        wait_until(lambda demo=demo: not demo.processes(), "all of the demo has ended")


def test_demo_succeeds_and_leaves_nothing(start_demo: Callable[..., RunningDemo]) -> None:
    demo = start_demo()

    status = demo.process.wait(timeout=200)

    assert status == 0, demo.output
    for words in (
        "inbox created",
        "accepted by the service (202)",
        "worker released",
        "progress 50 %",
        "completion published: succeeded",
        "ms after the completion: task success",
        "inbox deleted",
        "winner: ",
        "subscriptions left: 0",
    ):
        assert words in demo.output
    # More calls than slots, and a slot to spare: how many exactly depends on the machine.
    assert re.search(r"[345] calls waited at the same time; of 2 worker slots, [012] in use", demo.output)
    assert demo.processes() == []
    assert list(demo.temporary.iterdir()) == []
    assert list(demo.home.iterdir()) == []


def test_keep_leaves_airflow_open_until_ctrl_c(start_demo: Callable[..., RunningDemo]) -> None:
    demo = start_demo("--keep")
    demo.wait_for_line("press Ctrl-C")
    found = re.search(r"Airflow: (\S+)\n.*log in as (\S+) with the password (\S+)", demo.output)
    assert found is not None, demo.output
    url, user, password = found.groups()

    login = httpx2.post(f"{url}/auth/token", json={"username": user, "password": password}, trust_env=False)
    page = httpx2.get(url, trust_env=False, follow_redirects=True)
    demo.process.send_signal(signal.SIGINT)

    assert login.status_code == 201
    assert page.status_code == 200
    assert demo.process.wait(timeout=60) == 0
    assert demo.processes() == []
    assert list(demo.temporary.iterdir()) == []


def test_a_dead_component_is_named_with_its_log_which_is_kept(
    start_demo: Callable[..., RunningDemo],
) -> None:
    demo = start_demo()
    demo.wait_for_line("all is up")

    os.kill(demo.pid_of("airflow", "scheduler"), signal.SIGKILL)

    assert demo.process.wait(timeout=60) == 1
    found = re.search(r"the scheduler ended with status 137; its log is (\S+) and ends with", demo.output)
    assert found is not None, demo.output
    assert Path(found[1]).is_file()
    assert demo.processes() == []


def test_ctrl_c_during_the_start_leaves_nothing(start_demo: Callable[..., RunningDemo]) -> None:
    demo = start_demo()
    demo.wait_for_line("starting Airflow")

    demo.process.send_signal(signal.SIGINT)

    # A shell shows both as 130. CPython ends by the signal, however well it was handled, when it came in the
    # middle of an `exec`, such as a dataclass is made with while modules are imported.
    assert demo.process.wait(timeout=60) in {130, -signal.SIGINT}
    # What was just being started ends with its guard, a moment later.
    wait_until(lambda: not demo.processes(), "all of the demo has ended")
    assert list(demo.temporary.iterdir()) == []


def test_a_killed_demo_leaves_no_process(start_demo: Callable[..., RunningDemo]) -> None:
    demo = start_demo()
    demo.wait_for_line("worker released")

    demo.process.kill()

    demo.process.wait()
    wait_until(lambda: not demo.processes(), "all of the demo has ended")
