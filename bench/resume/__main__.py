"""How long from the end of the service's work to the end of its task, beside Airflow's own floor.

    python bench/resume [--calls 60] [--idle 1] [--apart 0.83]

The floor is a trigger that fires by itself: from its `yield` to the end of the
task that it resumes. Ours is from the instant when the service's function
returns, before it publishes, to the end of the task. First all tasks wait; then
their events happen one after the other, one of each kind in a round, order and
distances drawn by lot (the same in every run), on one real Airflow.

The floor is spread over more than a second, so the means are compared, and a 95 %
interval of their ratio is printed (bootstrap). Our own share, up to the trigger's
`yield`, is measured inside the triggerer and stands in a table of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
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


def measure(
    calls: int, *, idle_s: str, apart_s: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return, by kind, the seconds from the end of the work to that of the task, and to the `yield`."""
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


def read(stack: LocalStack, run_id: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return what the tasks have noted."""
    ends: dict[str, list[float]] = {kind: [] for kind in KINDS}
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS if kind != "floor"}
    for task in stack.airflow.task_instances("resume", run_id):
        noted = stack.airflow.xcom("resume", run_id, task.task_id, map_index=task.map_index)
        assert isinstance(noted, dict)
        assert task.ended is not None
        ends[task.task_id].append(task.ended.timestamp() - noted["ended_s"])
        if task.task_id in shares:
            shares[task.task_id].append(noted["yielded_s"] - noted["ended_s"])
    return ends, shares


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


def show(idle_s: str, ends: dict[str, list[float]], shares: dict[str, list[float]]) -> None:
    """Print the tables, ratios first."""
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
    for kind, values in shares.items():
        figures = (quantile(values, 0.5), quantile(values, 0.95), max(values))
        print(
            f"{KINDS[kind]:32}" + "".join(f"{1000 * value:7.1f} ms" for value in figures) + f"{len(values):6}"
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
    show(options.idle, *measure(options.calls, idle_s=options.idle, apart_s=options.apart))


if __name__ == "__main__":
    main()
