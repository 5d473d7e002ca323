"""Runs one command and leaves nothing of it behind, however the service ends. A program of its own.

`guard.py CONTROL STATUS GRACE_S FOLDER COMMAND...`, by the standard library only, so that it starts in
milliseconds. The service holds the other end of the pipe CONTROL: a byte asks for a stop (SIGTERM to the
command's process group, SIGKILL after the grace to all that descends from it), its end says that the service
is dead, and kills at once. To the pipe STATUS go lines of JSON: `{"pid"}`, then `{"status"}` or `{"errno"}`.
FOLDER is the call's own, and is removed when the service cannot do it any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time

__all__ = ["main"]

_ON_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05


def main(argv: list[str]) -> int:
    """Run the command to its end; return 0."""
    control, status_pipe, grace_s, folder, command = (
        int(argv[0]),
        int(argv[1]),
        float(argv[2]),
        argv[3],
        argv[4:],
    )
    for descriptor in (control, status_pipe):
        os.set_inheritable(descriptor, False)
    wakeups = _wake_on_signals()
    if _ON_LINUX:
        # What the command orphans becomes our child, where it can be found and killed.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = _spawn(command, status_pipe)
    if child is None:
        return 0
    for descriptor in (0, 1, 2):  # the command's alone: their end is seen when it closes them
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    _tell(status_pipe, {"pid": child})
    group = _Group(child)
    dead = _watch(group, control, wakeups, grace_s)
    group.kill()
    if dead:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    else:
        _tell(status_pipe, {"status": group.status})
    return 0


class _Group:
    """The command, and what descends from it."""

    def __init__(self, child: int) -> None:
        self.child = child
        self.status: int | None = None
        self.is_empty = False

    def reap(self) -> None:
        """Collect whatever has ended."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.child:
                    self.status = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            self.is_empty = _ON_LINUX or not _send(-self.child, 0)

    def kill(self) -> None:
        """Kill all of it, and wait for the end of that."""
        _send(-self.child, signal.SIGKILL)
        while True:
            for pid in _descendants() if _ON_LINUX else [self.child] if self.status is None else []:
                _send(pid, signal.SIGKILL)
            self.reap()
            if self.is_empty or (not _ON_LINUX and self.status is not None):
                return
            time.sleep(0.005)


def _watch(group: _Group, control: int, wakeups: int, grace_s: float) -> bool:
    """Return when the command has ended, or its time is over; True: the service is dead."""
    until_s: float | None = None
    while True:
        group.reap()
        if group.is_empty or (group.status is not None and until_s is None):
            return False
        left_s = None if until_s is None else until_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            return False
        # Others of the group may still clean up; where we are no subreaper, no signal tells of their end.
        ready, _, _ = select.select(
            [control, wakeups], [], [], left_s if _ON_LINUX or left_s is None else _POLL_S
        )
        stop = False
        if wakeups in ready:
            stop = signal.SIGTERM in os.read(wakeups, 512)
        if control in ready:
            if not os.read(control, 64):
                return True
            stop = True
        if stop and until_s is None:
            until_s = time.monotonic() + grace_s
            _send(-group.child, signal.SIGTERM)
            _send(-group.child, signal.SIGCONT)  # a stopped process hears no SIGTERM


def _wake_on_signals() -> int:
    """Return a descriptor that receives one byte, the number, per signal that matters here."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return reading


def _spawn(command: list[str], status_pipe: int) -> int | None:
    """Start the command as leader of a session; return its process id, None (and tell why) if that fails."""
    guard = os.getpid()
    reading, writing = os.pipe()  # closed by a successful exec
    child = os.fork()
    if child == 0:
        try:
            signal.set_wakeup_fd(-1)
            os.setsid()
            if _ON_LINUX:
                _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != guard:
                    os._exit(1)
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.execvp(command[0], command)  # noqa: S606 - the service's own argument list, no shell
        except OSError as error:
            os.write(writing, str(error.errno or errno.EIO).encode())
        os._exit(127)
    os.close(writing)
    failed = os.read(reading, 16)
    os.close(reading)
    if failed:
        os.waitpid(child, 0)
        _tell(status_pipe, {"errno": int(failed)})
        return None
    return child


def _descendants() -> list[int]:
    """Return the process ids below this one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs milliseconds here
        if name.isdigit():
            # A process may end while we read; the name in the second field may hold spaces and parentheses.
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found = children.pop(os.getpid(), [])
    for pid in found:  # grows while it is walked: that is the breadth-first queue
        found += children.pop(pid, [])
    return found


def _tell(status_pipe: int, what: dict[str, int | None]) -> None:
    with contextlib.suppress(OSError):  # the service is dead
        os.write(status_pipe, json.dumps(what).encode() + b"\n")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _send(pid: int, number: int) -> bool:
    """Send a signal; False: nobody is there. A negative `pid` names a process group, as kill(2) has it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
