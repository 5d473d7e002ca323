"""One DAG for each face of a call, for `test_faces.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dag_names import DAG, task

from longcall.airflow import LongCallOperator, LongCallSensor, LongCallTaskGroup, ServiceCompletionsTrigger

SERVICE: dict[str, Any] = {"topic": "reports", "http_conn_id": "service"}


def only_echo(result: dict[str, Any], ti: Any) -> dict[str, Any]:
    return {"echo": result["echo"], "task": ti.task_id}


def refuse(answer: Any) -> bool:
    return answer.status_code != 202


def add_mode(name: str, deferrable: bool) -> None:
    """Add a DAG of calls with every outcome, which wait in the triggerer or in the worker."""
    with DAG(f"mode_{name}", default_args={"deferrable": deferrable, **SERVICE}):
        LongCallOperator(
            task_id="succeeds",
            endpoint="/echo",
            data={"n": 1, "delay_s": 2},
            query={"day": "{{ run_id }}"},
            result_handler=only_echo,
        )
        LongCallOperator(
            task_id="shared",
            endpoint="/echo",
            data={"n": 2, "delay_s": 1},
            inbox_policy="shared",
            inbox="tests-faces",
        )
        LongCallOperator(task_id="fails", endpoint="/fails-for-good", data={"delay_s": 1})
        LongCallOperator(task_id="times_out", endpoint="/forever", timeout=timedelta(seconds=2))
        LongCallOperator(task_id="is_refused", endpoint="/forever", response_check=refuse)
        LongCallTaskGroup("steps", endpoint="/echo", data={"n": 3, "delay_s": 1}, deferrable=deferrable)


for name, deferrable in {"deferred": True, "blocking": False}.items():
    add_mode(name, deferrable)

with DAG("blocking_forever"):
    LongCallOperator(task_id="call", endpoint="/forever", deferrable=False, **SERVICE)

with DAG("sensors", default_args={"poke_interval": 1, "http_conn_id": "service"}):
    held, failed, forever = (f"{{{{ dag_run.conf['{name}'] }}}}" for name in ("held", "failed", "forever"))
    LongCallSensor(task_id="deferred", call='{"location": "' + held + '"}')
    LongCallSensor(task_id="poke", location=held, deferrable=False)
    LongCallSensor(  # sooner, and Airflow may take it for one that has failed
        task_id="reschedule", location=held, deferrable=False, mode="reschedule", poke_interval=10
    )
    LongCallSensor(task_id="failed", location=failed)
    LongCallSensor(task_id="failed_softly", location=failed, soft_fail=True)
    LongCallSensor(task_id="too_late", location=forever, timeout=1)
    LongCallSensor(task_id="too_late_softly", location=forever, timeout=1, soft_fail=True)
    LongCallSensor(task_id="too_late_poking", location=forever, timeout=1, soft_fail=True, deferrable=False)
    LongCallSensor(task_id="unknown", location="/calls/no-such-call")

with DAG("decorated"):

    @task.long_call(endpoint="/echo", multiple_outputs=True, **SERVICE)
    def echo(n: int, text: str, run_id: Any = None) -> dict[str, Any]:
        return {"n": n, "text": text, "run_id": run_id, "delay_s": 1}

    @task
    def collect(results: list[dict[str, Any]], one: dict[str, Any]) -> list[dict[str, Any]]:
        return [*results, one]

    mapped = echo.partial(text="{{ ti.task_id }}").expand(n=[1, 2])
    collect(mapped, echo.override(task_id="one")(3, "raw")["echo"])

with DAG("limited"):
    LongCallOperator.partial(task_id="call", endpoint="/crowd", pool="service_slots", **SERVICE).expand(
        data=[{"n": n} for n in range(4)]
    )

try:
    from airflow.sdk import Asset, AssetWatcher
except ImportError:  # Airflow 2 has none
    pass
else:
    watched = Asset(
        "watched_service",
        watchers=[
            AssetWatcher(
                name="completions",
                trigger=ServiceCompletionsTrigger(
                    topic="reports", subscription="tests-watcher", source="/services/watched"
                ),
            )
        ],
    )
    with DAG("on_completion", schedule=[watched]):

        @task
        def payloads(triggering_asset_events: Any) -> list[dict[str, Any]]:
            return [event.extra["payload"] for events in triggering_asset_events.values() for event in events]

        payloads()
