"""How long from the publish of a completion to the end of its task, beside Airflow's own floor.

    python bench/resume [--calls 12]

The floor is a trigger that fires by itself: from its `yield` to the end of the
task that it resumes. Ours is from the moment the service has its result (so the
publish counts) to the end of the task. All three kinds run in the same DAG run,
spread out in time, on one real Airflow with the settings of `longcall demo`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from longcall.cli.stack import LocalStack

HERE = Path(__file__).parent
KINDS = {
    "floor": "a trigger that fires by itself",
    "per_call": "longcall, per_call",
    "shared": "longcall, shared",
}


def measure(calls: int, idle_s: str) -> dict[str, list[float]]:
    """Return the seconds of every task, by kind."""
    environment = {
        "PYTHONPATH": str(HERE),
        "AIRFLOW_CONN_SERVICE": "{service_url}",
        "BENCH_CALLS": str(calls),
    }
    config = {"SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": idle_s}
    with LocalStack(
        dags_folder=HERE / "dags", service="bench_service:service", env=environment, airflow_config=config
    ) as stack:
        run_id = stack.airflow.trigger("resume")
        state = stack.airflow.wait_for_run("resume", run_id, timeout_s=60 + 6 * calls).state
        if state != "success":
            sys.exit(f"the benchmark's DAG run ended {state}")
        figures: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for task in stack.airflow.task_instances("resume", run_id):
            fired = stack.airflow.xcom("resume", run_id, task.task_id, map_index=task.map_index)
            assert isinstance(fired, float)
            assert task.ended is not None
            figures[task.task_id].append(task.ended.timestamp() - fired)
        return figures


def show(title: str, figures: dict[str, list[float]]) -> None:
    """Print one table, ratios first."""
    floor = statistics.median(figures["floor"])
    print(f"\n{title}\n{'':34}ratio    p50      min      max      n")
    for kind, label in KINDS.items():
        values = figures[kind]
        p50 = statistics.median(values)
        print(
            f"{label:34}{p50 / floor:4.2f}x  {p50:5.2f} s  {min(values):5.2f} s  {max(values):5.2f} s"
            f"  {len(values):3}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=12, help="tasks of each kind (default 12)")
    calls = parser.parse_args().calls
    show("publish -> end of task, scheduler_idle_sleep_time 1 s (Airflow's default)", measure(calls, "1"))
    show("publish -> end of task, scheduler_idle_sleep_time 0.05 s", measure(calls, "0.05"))


if __name__ == "__main__":
    main()
