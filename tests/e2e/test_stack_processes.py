"""Components end with their owner, whatever ends it, and take along all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from longcall.cli.stack import Component, ComponentFailed

# Starts a child that has left the process group and ignores SIGTERM, as badly behaved as can be.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
OWNER = """
import os, sys, time
from pathlib import Path
from longcall.cli.stack import Component
Component("stubborn", [sys.executable, "-c", sys.argv[1]], env=os.environ, log=Path(sys.argv[2]),
          cwd=Path.cwd(), grace_s=0.2)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, f"never: {what}"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids_in(log: Path) -> list[int]:
    wait_until(lambda: log.exists() and len(log.read_text().split()) == 2, "the component says its pids")
    return [int(pid) for pid in log.read_text().split()]


def component(script: str, tmp_path: Path, *, grace_s: float = 0.2) -> Component:
    return Component(
        "subject",
        [sys.executable, "-c", script],
        env=os.environ,
        log=tmp_path / "subject.log",
        cwd=tmp_path,
        grace_s=grace_s,
    )


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_stopping_kills_what_ignores_sigterm_and_what_it_started(tmp_path: Path) -> None:
    subject = component(STUBBORN, tmp_path)
    pids = pids_in(subject.log)
    subject.stop()
    assert not any(is_running(pid) for pid in pids)


def test_what_a_component_leaves_running_when_it_ends_is_killed(tmp_path: Path) -> None:
    subject = component(STUBBORN.replace("time.sleep(600)\n", "\n"), tmp_path)
    assert subject.wait(30) == 0
    assert not any(is_running(pid) for pid in pids_in(subject.log))
    subject.stop()


def test_a_component_is_asked_first_and_may_end_in_order(tmp_path: Path) -> None:
    script = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("in order")))
print("ready", flush=True)
signal.pause()
"""
    subject = component(script, tmp_path, grace_s=30)
    wait_until(lambda: "ready" in subject.log.read_text(), "the component is ready")
    subject.stop()
    assert subject.log.read_text() == "ready\nin order\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_survives_the_death_of_the_owner(number: int, tmp_path: Path) -> None:
    log = tmp_path / "stubborn.log"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, STUBBORN, str(log)])
    pids = pids_in(log)
    owner.send_signal(number)
    owner.wait()
    wait_until(lambda: not any(is_running(pid) for pid in pids), "all processes are gone")


def test_an_end_is_reported_with_status_log_and_last_lines(tmp_path: Path) -> None:
    subject = component("import sys; print('no such table'); sys.exit(3)", tmp_path)
    subject.wait(30)
    with pytest.raises(ComponentFailed, match="the subject ended with status 3") as failed:
        subject.check()
    assert "no such table" in str(failed.value)
    assert str(subject.log) in str(failed.value)
    subject.stop()


def test_a_death_by_signal_is_told_as_a_shell_would(tmp_path: Path) -> None:
    subject = component("import os; os.kill(os.getpid(), 9)", tmp_path)
    assert subject.wait(30) == 128 + 9
    subject.stop()


def test_a_program_that_does_not_exist_is_named_in_the_log(tmp_path: Path) -> None:
    subject = Component(
        "subject", ["/no/such/program"], env=os.environ, log=tmp_path / "subject.log", cwd=tmp_path
    )
    assert subject.wait(30) == 127
    assert "/no/such/program" in subject.last_lines()
    subject.stop()


def test_stopping_one_component_leaves_the_others_running(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = component(STUBBORN, tmp_path / "a")
    second = component(STUBBORN, tmp_path)
    pids = pids_in(second.log)
    first.stop()
    second.check()
    assert all(is_running(pid) for pid in pids)
    second.stop()
