"""The servers that are measured, each as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

GOOGLE = "cloud-pubsub-emulator"
USUAL_PLACES = (
    "/usr/lib/google-cloud-sdk",
    "/usr/local/google-cloud-sdk",
    "/google-cloud-sdk",
    "~/google-cloud-sdk",
)
_LIST_TOPICS = "/google.pubsub.v1.Publisher/ListTopics"
_PROJECT = b"\x0a\x0aprojects/p"  # ListTopicsRequest(project="projects/p")


def google_emulator() -> str | None:
    """Return the executable of Google's emulator, if it is installed."""
    named = os.environ.get("LONGCALL_GOOGLE_EMULATOR") or shutil.which(GOOGLE)
    if named:
        return named
    places = (Path(p).expanduser() / "platform/pubsub-emulator/bin" / GOOGLE for p in USUAL_PLACES)
    return next((str(place) for place in places if place.exists()), None)


@dataclass
class Server:
    """A running server.

    Attributes:
        address: host and port.
        start_s: from the start of the process to the answer of the first request.
    """

    address: str
    start_s: float
    _group: int

    def resident_mb(self) -> float:
        """Return the resident memory of all its processes."""
        pages = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[2]) == self._group:
                        pages += int((entry / "statm").read_text().split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """Run a server: `durable`, `memory` (both ours) or `google`."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        if kind == "google":
            command = [str(google_emulator()), "--host=127.0.0.1", f"--port={port}"]
        else:
            command = [sys.executable, "-m", "longcall.cli.main", "broker", "--port", str(port)]
            command += ["--log-level", "warning"]
            command += ["--data-dir", folder] if kind == "durable" else []
        began_s = time.perf_counter()
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        try:
            address = f"127.0.0.1:{port}"
            _wait_for_an_answer(address)
            yield Server(address, time.perf_counter() - began_s, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _wait_for_an_answer(address: str) -> None:
    often = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20)]
    often += [("grpc.max_reconnect_backoff_ms", 20)]
    with grpc.insecure_channel(address, often) as channel:
        channel.unary_unary(_LIST_TOPICS)(_PROJECT, wait_for_ready=True, timeout=60)
