"""The service SDK beside the article's Flask service and a bare job library, in the same run.

    python bench/service [--calls 4000] [--queued 10000] [--kept 100000] [--kills 5] [--only accepts ...]

Ours keeps each call before it answers: in a SQLite file, and in PostgreSQL. The article's service (Flask, a
thread for each call) keeps nothing. The library is procrastinate on PostgreSQL behind Starlette: one job a
call, no outcome. Accepted calls wait meanwhile, with each of them. Clients are in a process of their own;
everything is on loopback. What it prints are the tables of docs/reference/service.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from client import get, load, post
from servers import Bench, Server, cpu_s, rss_mb

TAKEOVER_S = 5


def accepts(bench: Bench, args: argparse.Namespace) -> None:
    """Durable accepts; what is accepted waits."""
    bench.gate.unlink(missing_ok=True)
    kinds: dict[str, Callable[[], Server]] = {
        "SQLite": lambda: bench.ours(str(bench.folder / "accept")),
        "PostgreSQL": lambda: bench.ours(bench.postgres()),
        "the article's Flask service": bench.flask,
        "procrastinate alone, on PostgreSQL": bench.library,
    }
    print("\n| accepts | one at a time: per s, p50 | 16 at once: per s, p50, p99 | memory |")
    print("| --- | --- | --- | --- |")
    for name, start in kinds.items():
        with start() as (port, running):
            path = "/queued" if name in ("SQLite", "PostgreSQL") else "/stamp"
            load(port, path, 50, writers=1, prefix="warm")
            one = load(port, path, args.calls // 4, writers=1, prefix="one")
            many = load(port, path, args.calls, writers=16, prefix="many")
            print(
                f"| {name} | {one['rate']:.0f}, {one['p50']:.1f} ms | {many['rate']:.0f}, {many['p50']:.1f}"
                f" ms, {many['p99']:.1f} ms | {rss_mb(running.pid):.0f} MB |",
                flush=True,
            )


def row(name: str, *cells: str) -> None:
    """Print a row of the second table, whose columns are the stores."""
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def start(bench: Bench, args: argparse.Namespace) -> None:
    """How long until the work begins."""
    cells = []
    for _kind, store in bench.stores("start"):
        with bench.ours(store) as (port, _running):
            took = sorted(start_ms(port, f"start-{number}") for number in range(100))
            cells.append(f"{took[50]:.1f} ms, {took[95]:.1f} ms")
    row("request to start of work, p50, p95", *cells)


def start_ms(port: int, name: str) -> float:
    """Start a call that tells when it began; return how long that took."""
    began_s = time.time()
    asyncio.run(post(port, "/stamp", [name], 1))
    while (found := get(port, f"/calls/{name}"))["state"] != "succeeded":
        time.sleep(0.002)
    started_s: float = found["result"]["data"]  # type: ignore[index]
    return (started_s - began_s) * 1000


def queue(bench: Bench, args: argparse.Namespace) -> None:
    """Ten thousand calls that wait."""
    cells = []
    for _kind, store in bench.stores("queue"):
        bench.gate.unlink(missing_ok=True)
        with bench.ours(store) as (port, running):
            load(port, "/queued", args.queued, writers=16, prefix="q")
            before_s = cpu_s(running.pid)
            time.sleep(10)
            idle = (cpu_s(running.pid) - before_s) / 10
            memory = rss_mb(running.pid)
            began_s = time.perf_counter()
            bench.gate.touch()
            until_none(port, "accepted")
            until_none(port, "running")
            rate = args.queued / (time.perf_counter() - began_s)
            cells.append(f"{memory:.0f} MB, {idle:.1%}, {rate:.0f}".replace("%", " %"))
    row(f"{args.queued:,} calls wait: memory, idle CPU, then done per s", *cells)


def until_none(port: int, state: str) -> None:
    """Wait until no call is in a state."""
    while get(port, f"/calls?state={state}&page_size=1")["calls"]:
        time.sleep(0.1)


def retention(bench: Bench, args: argparse.Namespace) -> None:
    """What stays of many calls."""
    store = bench.folder / "retention"
    with bench.ours(str(store)) as (port, running):
        for part in range(args.kept // 10_000):
            load(port, "/stamp", 10_000, writers=16, prefix=f"r{part}")
            until_none(port, "accepted")  # more than wait at a time would be refused
        time.sleep(2)
        size_mb = sum(file.stat().st_size for file in store.iterdir()) / 1e6
        cell = f"{size_mb:.1f} MB, {rss_mb(running.pid):.0f} MB"
    row(f"after {args.kept:,} calls, 10,000 kept: store, memory", cell, "")


def takeover(bench: Bench, args: argparse.Namespace) -> None:
    """How long until another replica runs the calls of one that was killed."""
    store, took = bench.postgres(), []
    for number in range(args.kills):
        with ExitStack() as replicas:
            two = [replicas.enter_context(bench.ours(store, "--takeover", str(TAKEOVER_S))) for _ in range(2)]
            name = f"takeover-{number}"
            asyncio.run(post(two[0][0], "/pid", [name], 1))
            until_attempt(two[0][0], name, 1)
            killed = int(bench.pid_file(name).read_text())
            ((port, _),) = [each for each in two if each[1].pid != killed]
            os.kill(killed, 9)
            began_s = time.perf_counter()
            until_attempt(port, name, 2)
            took.append(time.perf_counter() - began_s)
    cell = f"{statistics.median(took):.1f} s, {max(took):.1f} s"
    row(f"a replica is killed, `--takeover {TAKEOVER_S}`: its call runs again after, median, most", "", cell)


def until_attempt(port: int, name: str, attempt: int) -> None:
    """Wait until a call's run has begun, by its own account."""
    while get(port, f"/calls/{name}").get("progress", {}).get("done") != attempt:  # type: ignore[attr-defined]
        time.sleep(0.02)


def main() -> None:
    """Measure and print."""
    parts = {"accepts": accepts, "start": start, "queue": queue, "retention": retention, "takeover": takeover}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--kept", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(parts), choices=parts)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with ExitStack() as stack:
        bench = Bench(stack)
        rows: Sequence[str] = [name for name in args.only if name != "accepts"]
        if "accepts" in args.only:
            accepts(bench, args)
        if rows:
            print("\n| | SQLite | PostgreSQL |\n| --- | --- | --- |")
        for name in rows:
            parts[name](bench, args)


if __name__ == "__main__":
    main()
