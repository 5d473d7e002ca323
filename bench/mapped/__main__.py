"""Many mapped calls from many DAG runs, end to end in a real Airflow, beside as many tasks of the floor.

    python bench/mapped [--runs 10] [--mapped 100] [--kinds floor per_call shared]

Each kind on an Airflow of its own with the settings of `longcall demo` (SQLite, LocalExecutor, four worker
slots). Nobody is answered before every call is there, so all are in flight at once; then all end at once. The
last task of each DAG run fails if an answer is not its own task's. The floor's tasks defer to a trigger that
fires by itself. Half of the time every worker process starts, imports and ends: that is what is compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from longcall.cli.stack import LocalStack

HERE = Path(__file__).parent
KINDS = ("floor", "per_call", "shared")
LASTING = {"shared": 1}


@dataclass(frozen=True)
class Figures:
    """What one kind has taken."""

    tasks: int
    deferring_s: float
    resuming_s: float
    triggerer_mb: float
    crossed: int
    inboxes_left: int


def measure(kind: str, runs: int, mapped: int) -> Figures:
    """Run one kind."""
    with tempfile.TemporaryDirectory(prefix="longcall-bench-") as scratch:
        go = Path(scratch) / "go"
        environment = {
            "PYTHONPATH": str(HERE),
            "AIRFLOW_CONN_SERVICE": "{service_url}",
            "BENCH_RUNS": str(runs),
            "BENCH_MAPPED": str(mapped),
            "BENCH_CALLS": str(runs * mapped),
            "BENCH_GO": str(go),
        }
        with LocalStack(
            dags_folder=HERE / "dags",
            service="mapped_service:service",
            env=environment,
            airflow_config={"SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1"},
        ) as stack:
            began_s = time.time()
            ids = [stack.airflow.trigger(f"mapped_{kind}") for _ in range(runs)]
            while not go.exists():
                stack.check()
                time.sleep(1)
            memory_mb = resident_mb(stack.components["triggerer"].pid)
            went_s = float(go.read_text())
            states = [
                stack.airflow.wait_for_run(f"mapped_{kind}", run_id, timeout_s=3600).state for run_id in ids
            ]
            ended_s = time.time()
            return Figures(
                tasks=runs * mapped,
                deferring_s=went_s - began_s,
                resuming_s=ended_s - went_s,
                triggerer_mb=memory_mb,
                crossed=sum(state != "success" for state in states),
                inboxes_left=count_inboxes(stack) - LASTING.get(kind, 0),
            )


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children."""
    process = psutil.Process(pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 1e6


def count_inboxes(stack: LocalStack) -> int:
    """Return how many subscriptions there are."""
    with grpc.insecure_channel(stack.pubsub_host) as channel:
        transport = SubscriberGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        listed = SubscriberClient(transport=transport).list_subscriptions(project=f"projects/{stack.project}")
        return len(list(listed))


def show(kind: str, figures: Figures) -> None:
    """Print one line of the table."""
    whole_s = figures.deferring_s + figures.resuming_s
    print(
        f"{kind:10}{figures.tasks:7}{whole_s:9.0f} s{figures.tasks / whole_s:9.1f}/s"
        f"{figures.deferring_s:9.0f} s{figures.resuming_s:9.0f} s{figures.triggerer_mb:8.0f} MB"
        f"{figures.crossed:6}{figures.inboxes_left:14}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, help="DAG runs at once")
    parser.add_argument("--mapped", type=int, default=100, help="mapped tasks in each")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    if options.runs * options.mapped > 1000:
        sys.exit("the service runs a thousand calls at once, and a triggerer as many triggers")
    print(
        f"{'':10}{'tasks':>7}{'whole':>11}{'rate':>11}{'deferring':>11}{'resuming':>11}{'triggerer':>11}"
        f"{'bad':>6}{'inboxes left':>14}",
        flush=True,
    )
    for kind in options.kinds:
        show(kind, measure(kind, options.runs, options.mapped))


if __name__ == "__main__":
    main()
