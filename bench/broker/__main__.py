"""The embedded broker beside Google's emulator, in the same run.

    python bench/broker [--rounds 3] [--only one_message callback …]

Ours keeps everything in a file (`--data-dir`). In each round both servers are started
anew, one after the other, and every measurement has a client process of its own. The
figures are medians of the rounds. Google's emulator is measured where it is installed:
`LONGCALL_GOOGLE_EMULATOR` names its executable.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servers import Server, google_emulator, running

CLIENT = Path(__file__).parent / "client.py"


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Attributes:
        label: what is measured.
        measurement: the client's function, or what the parent measures itself.
        key: of its result.
        unit: of the figure.
        limit: what ours must not exceed; None: see `ratio`.
        ratio: ours over theirs (theirs over ours, when less is better) must reach it.
        more: whether more is better.
    """

    label: str
    measurement: str
    key: str
    unit: str
    limit: float | None = None
    ratio: float | None = None
    more: bool = False


FIGURES = (
    Figure("start to first answer", "start", "seconds", "s", limit=0.6),
    Figure("resident memory, idle", "idle", "mb", "MB", limit=75),
    Figure("resident memory, 2,000 filtered subscriptions, 100 streams", "crowd", "mb", "MB", limit=130),
    Figure("publish to callback, p50", "callback", "p50", "ms", limit=5),
    Figure("publish to callback, p95", "callback", "p95", "ms", limit=12),
    Figure("publish 20,000 x 100 B", "publish_many", "rate", "/s", ratio=1.0, more=True),
    Figure("publish and consume 20,000", "publish_and_consume", "rate", "/s", ratio=2.5, more=True),
    Figure("create subscriptions", "create_subscriptions", "rate", "/s", ratio=1.0, more=True),
    Figure("one message a request, p50", "one_message", "p50", "ms", limit=1.0),
    Figure("one message a request, p95", "one_message", "p95", "ms"),
    Figure("one publish, 10 filtered subscriptions, p50", "filtered", "p50 of 10", "ms"),
    Figure("one publish, 10,000 filtered subscriptions, p50", "filtered", "p50 of 10000", "ms"),
)
OURS_ONLY = ("filtered",)


def client(measurement: str, server: Server) -> dict[str, float]:
    """Run one measurement."""
    command = [sys.executable, str(CLIENT), measurement, server.address]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if measurement == "crowd":
        assert process.stdout.readline() == "ready\n"
        result = {"mb": server.resident_mb()}
        process.communicate()
        return result
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{measurement} failed")
    return dict(json.loads(out))


def measure(kind: str, only: Sequence[str]) -> dict[tuple[str, str], float]:
    """Measure one server once."""
    found: dict[tuple[str, str], float] = {}
    for measurement in dict.fromkeys(figure.measurement for figure in FIGURES):
        if measurement not in only or (kind == "google" and measurement in OURS_ONLY):
            continue
        with running(kind) as server:
            if measurement in ("start", "idle"):
                result = {"seconds": server.start_s, "mb": server.resident_mb()}
            else:
                result = client(measurement, server)
        found |= {(measurement, key): value for key, value in result.items()}
    return found


def verdict(figure: Figure, ours: float, theirs: float | None) -> str:
    """Say whether the target is reached."""
    if figure.limit is not None:
        return f"{'holds' if ours <= figure.limit else 'MISSES'}: at most {figure.limit:g} {figure.unit}"
    if figure.ratio is not None and theirs is not None:
        return f"{'holds' if ours / theirs >= figure.ratio else 'MISSES'}: at least {figure.ratio:g}x"
    return ""


def show(figures: dict[str, dict[tuple[str, str], list[float]]]) -> None:
    """Print the table, ratios first."""
    print(f"\n{'':60}{'better by':>10} {'ours':>12} {'Google':>12}")
    for figure in FIGURES:
        key = (figure.measurement, figure.key)
        if key not in figures["durable"]:
            continue
        ours = statistics.median(figures["durable"][key])
        values = figures["google"].get(key)
        theirs = statistics.median(values) if values else None
        ratio = ""
        if theirs is not None:
            ratio = f"{ours / theirs if figure.more else theirs / ours:.1f}x"
        digits = 0 if figure.unit in ("/s", "MB") else 2
        other = f"{theirs:.{digits}f} {figure.unit}" if theirs is not None else "-"
        print(
            f"{figure.label:60}{ratio:>10} {f'{ours:.{digits}f} {figure.unit}':>12} {other:>12}   "
            f"{verdict(figure, ours, theirs)}"
        )
    few, many = (figures["durable"].get(("filtered", f"p50 of {n}")) for n in (10, 10_000))
    if few and many:
        growth = statistics.median(many) / statistics.median(few)
        held = "holds" if growth <= 1.2 else "MISSES"
        print(
            f"{'one publish, 10,000 over 10 filtered subscriptions':60}{'':>10} {f'{growth:.2f}x':>12} "
            f"{'-':>12}   {held}: at most 1.2x"
        )


def main() -> None:
    """Measure and print."""
    known = list(dict.fromkeys(figure.measurement for figure in FIGURES))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=known, choices=known)
    args = parser.parse_args()
    kinds = ["durable"] + (["google"] if google_emulator() else [])
    figures: dict[str, dict[tuple[str, str], list[float]]] = {
        kind: defaultdict(list) for kind in ("durable", "google")
    }
    for round_ in range(args.rounds):
        for kind in kinds:
            load = os.getloadavg()[0]
            print(f"round {round_ + 1} of {args.rounds}, {kind} (load {load:.1f})", file=sys.stderr)
            for key, value in measure(kind, args.only).items():
                figures[kind][key].append(value)
    show(figures)
    if "google" not in kinds:
        print("\nGoogle's emulator is not installed: LONGCALL_GOOGLE_EMULATOR names its executable.")


if __name__ == "__main__":
    main()
