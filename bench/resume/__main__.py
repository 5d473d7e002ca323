"""How long from the end of the service's work to the end of its task, beside Airflow's own floor.

    python bench/resume [--calls 60] [--idle 1] [--apart 0.83]

The floor is a trigger that fires by itself: from its `yield` to the end of the
task that it resumes. Ours is from the instant when the service's function
returns, before it publishes, to the end of the task. First all tasks wait; then
their events happen one after the other, one of each kind in a round, order and
distances drawn by lot (the same in every run), on one real Airflow.

The floor is spread over more than a second, so the means are compared, and a 95 %
interval of their ratio is printed (bootstrap). Our own share, up to the trigger's
`yield`, is measured inside the triggerer. Two tables more: that share, and where
the mean goes, for the wait for Airflow's loops is the same for all, but for chance.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from schedule import go

from longcall.cli.stack import LocalStack
from longcall.cli.stack.airflow_api import TaskInstance

HERE = Path(__file__).parent
KINDS = {
    "floor": "a trigger that fires by itself",
    "per_call": "longcall, per_call",
    "shared": "longcall, shared",
}
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """One task: the seconds from the end of its work to each step."""

    yielded_s: float
    queued_s: float
    ended_s: float


def measure(calls: int, *, idle_s: str, apart_s: float) -> dict[str, list[Resumed]]:
    """Return all tasks, by kind."""
    with tempfile.TemporaryDirectory(prefix="longcall-bench-") as scratch:
        os.environ["BENCH_GO"] = str(Path(scratch) / "go")
        environment = {
            "PYTHONPATH": str(HERE),
            "AIRFLOW_CONN_SERVICE": "{service_url}",
            "BENCH_CALLS": str(calls),
            "BENCH_GO": os.environ["BENCH_GO"],
        }
        config = {"SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": idle_s}
        with LocalStack(
            dags_folder=HERE / "dags", broker=True, env=environment, airflow_config=config
        ) as stack:
            run_id = start(stack)
            wait_until_deferred(stack, run_id, 3 * calls)
            go(apart_s)
            state = stack.airflow.wait_for_run("resume", run_id, timeout_s=600 + 3 * calls * apart_s).state
            if state != "success":
                sys.exit(f"the benchmark's DAG run ended {state}")
            return read(stack, run_id)


def start(stack: LocalStack) -> str:
    """Start the service and the DAG run."""
    port = stack.service_url.rpartition(":")[2]
    topic = f"projects/{stack.project}/topics/{stack.topic}"
    stack.start_component(
        "service", sys.executable, str(HERE / "bench_service.py"), port, topic, port=int(port)
    )
    return stack.airflow.trigger("resume")


def wait_until_deferred(stack: LocalStack, run_id: str, number: int) -> None:
    """Wait until every task waits, then for what is left to calm down."""
    deadline_s = time.monotonic() + 60 + 8 * number
    while count_deferred(stack.airflow.task_instances("resume", run_id)) < number:
        if time.monotonic() > deadline_s:
            sys.exit("not all tasks were deferred in time")
        time.sleep(2)
    time.sleep(12)  # past the hold-back of ADR 3


def count_deferred(tasks: list[TaskInstance]) -> int:
    """Return how many of them wait."""
    return sum(task.state == "deferred" for task in tasks)


def read(stack: LocalStack, run_id: str) -> dict[str, list[Resumed]]:
    """Return what the tasks, and Airflow, have noted."""
    found: dict[str, list[Resumed]] = {kind: [] for kind in KINDS}
    for task in stack.airflow.task_instances("resume", run_id):
        noted = stack.airflow.xcom("resume", run_id, task.task_id, map_index=task.map_index)
        assert isinstance(noted, dict)
        assert task.queued is not None
        assert task.ended is not None
        began_s = noted["ended_s"]
        found[task.task_id].append(
            Resumed(
                yielded_s=noted["yielded_s"] - began_s,
                queued_s=task.queued.timestamp() - began_s,
                ended_s=task.ended.timestamp() - began_s,
            )
        )
    return found


def interval(values: list[float], floor: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of the means."""
    dice = random.Random(0)  # the same figures from the same data
    ratios = sorted(
        statistics.fmean(dice.choices(values, k=len(values)))
        / statistics.fmean(dice.choices(floor, k=len(floor)))
        for _ in range(RESAMPLES)
    )
    return ratios[RESAMPLES // 40], ratios[-RESAMPLES // 40]


def quantile(values: list[float], share: float) -> float:
    """Return the value that so large a share of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def show(idle_s: str, found: dict[str, list[Resumed]]) -> None:
    """Print the tables, ratios first."""
    ends = {kind: [task.ended_s for task in tasks] for kind, tasks in found.items()}
    print(f"end of work -> end of task, scheduler_idle_sleep_time {idle_s} s")
    print(f"{'':32}{'ratio of means (95 %)':24}{'mean':>8}{'p50':>9}{'p95':>9}{'min':>9}{'max':>9}{'n':>6}")
    floor = ends["floor"]
    for kind, label in KINDS.items():
        values = ends[kind]
        low, high = interval(values, floor)
        ratio = f"{statistics.fmean(values) / statistics.fmean(floor):.3f} ({low:.2f} to {high:.2f})"
        seconds = (
            statistics.fmean(values),
            quantile(values, 0.5),
            quantile(values, 0.95),
            min(values),
            max(values),
        )
        print(
            f"{label:32}{'1' if kind == 'floor' else ratio:24}"
            + "".join(f"{value:7.2f} s" for value in seconds)
            + f"{len(values):6}"
        )
    print(f"\nof this our own, up to the yield\n{'':32}{'p50':>10}{'p95':>10}{'max':>10}{'n':>6}")
    for kind in ("per_call", "shared"):
        values = [task.yielded_s for task in found[kind]]
        figures = (quantile(values, 0.5), quantile(values, 0.95), max(values))
        print(
            f"{KINDS[kind]:32}" + "".join(f"{1000 * value:7.1f} ms" for value in figures) + f"{len(values):6}"
        )
    print(f"\nmeans of the steps\n{'':32}{'to the yield':>14}{'until queued':>14}{'in the worker':>15}")
    for kind, label in KINDS.items():
        steps = (
            (task.yielded_s, task.queued_s - task.yielded_s, task.ended_s - task.queued_s)
            for task in found[kind]
        )
        print(
            f"{label:31}"
            + "".join(f"{1000 * statistics.fmean(step):12.0f} ms" for step in zip(*steps, strict=True))
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=60, help="tasks of each kind (default 60)")
    parser.add_argument("--idle", default="1", help="scheduler_idle_sleep_time (default 1, as Airflow's)")
    parser.add_argument("--apart", type=float, default=0.83, help="seconds between events, on average")
    options = parser.parse_args()
    show(options.idle, measure(options.calls, idle_s=options.idle, apart_s=options.apart))


if __name__ == "__main__":
    main()
