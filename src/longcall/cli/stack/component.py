"""One child process of the stack: guarded, with a log file of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from longcall.cli.stack import guard
from longcall.cli.stack.errors import ComponentFailed

__all__ = ["Component"]

_TAIL_BYTES = 4000
_TAIL_LINES = 15


class Component:
    """A running child process.

    It ends with this process at the latest, even if this process is killed: see `guard`.

    Attributes:
        name: what errors call it.
        command: program and arguments.
        log: file that receives its standard output and standard error.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path,
        grace_s: float = 3.0,
    ) -> None:
        """Start it.

        Args:
            name: what errors call it.
            command: program and arguments; the program is an absolute path or found on PATH.
            env: its whole environment.
            log: opened for appending.
            cwd: its working directory.
            grace_s: from SIGTERM to SIGKILL when it is stopped.
        """
        self.name = name
        self.command = tuple(command)
        self.log = log
        # The guard must hold no copy of another guard's pipe, or that one would never see its end:
        # Python's descriptors are not inherited unless asked, and this one is asked for here alone.
        reading, self._lifeline = os.pipe()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                [sys.executable, "-I", "-S", guard.__file__, str(grace_s), *command],
                env=dict(env),
                cwd=cwd,
                stdin=reading,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the owner, who then stops its components in order
            )
        os.close(reading)

    @property
    def pid(self) -> int:
        """Process id of the guard; the command is its child."""
        return self._process.pid

    def check(self) -> None:
        """Return if it runs.

        Raises:
            ComponentFailed: it has ended.
        """
        status = self._process.poll()
        if status is not None:
            raise ComponentFailed(self.name, status=status, log=self.log, last_lines=self.last_lines())

    def wait(self, timeout_s: float) -> int:
        """Wait for it to end by itself and return its status.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Kill the command and all that it started, as `kill -9` does, and wait until they are gone."""
        for pid in guard.descendants_of(self.pid, guard.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def last_lines(self) -> str:
        """Return the end of its log, at most 15 lines."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])

    def begin_stop(self) -> None:
        """Ask it to end. A repeat does nothing."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def stop(self) -> None:
        """Ask it to end and wait until it and all that it started are gone. A repeat does nothing."""
        self.begin_stop()
        self._process.wait()
