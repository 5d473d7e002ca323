"""A broker for the length of a test, as a process of its own, that may be killed and started again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from longcall.broker import BrokerConfigError
from longcall.testing.inspection import InspectedBroker

__all__ = ["BrokerProcess"]

_WAIT_S: Final = 30.0


class BrokerProcess(InspectedBroker):
    """`longcall broker --testing`. Ends with the `with` statement, and with the test's process at the latest.

    Args:
        data_dir: keep everything here, also over a `kill` and `start`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def __enter__(self) -> Self:
        """Return itself: it runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    def start(self) -> None:
        """Start it, on the port that it had before. Does nothing if it runs.

        Raises:
            BrokerConfigError: it did not start; says why.
        """
        if self._process is not None and self._process.poll() is None:
            return
        port = self.address.rpartition(":")[2] if self._process is not None else "0"
        self._reap()
        command = [sys.executable, "-m", "longcall.cli.main", "broker", "--testing", "--port", port]
        command.append("--until-stdin-ends")
        self._process = subprocess.Popen(  # noqa: S603 - our own arguments
            [*command, "--data-dir", str(self._data_dir), "--log-level", "warning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None  # it is a pipe
        started = self._process.stdout.readline()
        if not started:
            raise BrokerConfigError(f"the broker did not start: exit status {self._process.wait()}")
        super().__init__(f"127.0.0.1:{started.split()[-1]}")

    def kill(self) -> None:
        """End it as `kill -9` does. `start` brings it back with what it had acknowledged."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_WAIT_S)

    def crash(self, method: str, *, before: bool = True, **how_often: Any) -> None:
        """Let it die, as of `kill -9`, before or after a method, e.g. `Publish`, has had its effect."""
        self._add("crash_before" if before else "crash_after", method, how_often)

    def wait_until_dead(self, timeout_s: float = _WAIT_S) -> None:
        """Wait until it is gone, e.g. after `crash`."""
        if self._process is not None:
            self._process.wait(timeout_s)

    def close(self) -> None:
        """End it in order. A repeat does nothing."""
        super().close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            super().close()
            self._process.communicate(timeout=_WAIT_S)
