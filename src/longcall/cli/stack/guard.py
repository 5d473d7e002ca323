"""Runs one command and leaves nothing of it behind, however its owner ends.

A program of its own, started by path and standard library only, so that it
costs milliseconds: `guard.py GRACE_S COMMAND...`. Its standard input is a pipe
that the owner holds open. When the pipe closes (the owner wants an end, or was
killed), the command is asked to stop with SIGTERM, and after the grace all
that descends from it is killed. When the command ends by itself, what it left
running is killed too. The guard ends with the command's status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["descendants_of", "main", "processes"]

_ON_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STDIN = 0


def main(argv: list[str]) -> int:
    """Run `argv[1:]` with a grace of `argv[0]` seconds; return its status, 128 + N when signal N ended it."""
    grace_s, command = float(argv[0]), argv[1:]
    wakeups = _wake_on_signals()
    if _ON_LINUX:
        # What the command orphans becomes our child, where it can be found and killed.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = _spawn(command)
    status = _wait_for_exit(child, wakeups, owner=True, timeout_s=None)
    if status is None:
        _send(child, signal.SIGTERM)
        status = _wait_for_exit(child, wakeups, owner=False, timeout_s=grace_s)
    if status is None:
        _send(child, signal.SIGKILL)
        status = _wait_for_exit(child, wakeups, owner=False, timeout_s=None)
    _kill_leftovers(child)
    return 0 if status is None else status


def descendants_of(root: int, processes: Iterable[tuple[int, int]]) -> list[int]:
    """Return the process ids below `root`, nearest first.

    Args:
        root: not part of the answer.
        processes: (process id, parent's process id) of every process there is.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in processes:
        children.setdefault(parent, []).append(pid)
    found = children.pop(root, [])
    for pid in found:  # grows while it is walked: that is the breadth-first queue
        found += children.pop(pid, [])
    return found


def _wake_on_signals() -> int:
    """Return a file descriptor that receives one byte, the number, per signal that matters here."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*_STOP_SIGNALS, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return reading


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _spawn(command: list[str]) -> int:
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        if _ON_LINUX:
            # Should the guard itself be killed, at least the command hears of it.
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != guard:
                os._exit(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
        os.execvp(command[0], command)  # noqa: S606 - the stack's own argument list, no shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _wait_for_exit(child: int, wakeups: int, *, owner: bool, timeout_s: float | None) -> int | None:
    """Return the child's status, or None when the time is up or (with `owner`) the owner wants an end."""
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    watched = [wakeups, _STDIN] if owner else [wakeups]
    while True:
        status = _reap(child)
        if status is not None:
            return status
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        ready, _, _ = select.select(watched, [], [], left_s)
        signals = os.read(wakeups, 512) if wakeups in ready else b""
        owner_ended = _STDIN in ready or any(number in _STOP_SIGNALS for number in signals)
        if not ready or (owner and owner_ended):
            return None


def _reap(child: int) -> int | None:
    """Collect every child that has ended; return the status of `child` if it was among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                status = code if code >= 0 else 128 - code
    return status


def _kill_leftovers(child: int) -> None:
    """Kill what descends from the command; elsewhere than on Linux, what stayed in its process group."""
    _send(-child, signal.SIGKILL)
    while _ON_LINUX and (left := descendants_of(os.getpid(), processes())):
        for pid in left:
            _send(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def processes() -> list[tuple[int, int]]:
    """Return (process id, parent's id) of every process, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while we read; the name in the second field may hold spaces and parentheses.
        with contextlib.suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            found.append((int(stat.parent.name), int(fields[1])))
    return found


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if pid < 0:
            os.killpg(-pid, number)
        else:
            os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
