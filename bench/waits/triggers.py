"""A process whose one event loop runs many triggers, as a triggerer's runner does.

    python triggers.py KIND NUMBER

Reads commands from standard input, a line each, and answers each with a line of JSON:

- `start`: run the triggers; answered when every one waits;
- `measure SECONDS`: the share of a core that is used from now on, and the resident memory;
- `wake`: answered when every trigger has yielded its event and ended; when the first and last did.

Where Airflow's supervisor would store a completion and answer, somebody stands who does so at once: what
Airflow itself takes is left out here; `bench/mapped` has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psutil

PROJECT = "bench"
TOPIC = f"projects/{PROJECT}/topics/completions"
SHARED = "waits"
CALM = 0.03
"""Of a core: then starting is over."""


@dataclass(frozen=True)
class Task:
    """What names a task instance."""

    map_index: int
    dag_id: str = "waits"
    task_id: str = "call"
    run_id: str = "run"


class Supervisor:
    """Answers a trigger's requests at once."""

    async def asend(self, message: Any) -> Any:
        """Store, or find nothing."""
        from airflow.sdk.execution_time.comms import SetXCom, XComResult

        return None if isinstance(message, SetXCom) else XComResult(key=message.key, value=None)


def correlation_id(kind: str, n: int) -> str:
    """Return the id of a call."""
    return f"{SHARED}.{n}" if kind == "shared" else f"lc-{n}"


def longcall_trigger(kind: str, n: int) -> Any:
    """Make longcall's trigger, as its operator does."""
    from longcall.airflow import CompletionTrigger
    from longcall.airflow.record import CallRecord

    inbox = SHARED if kind == "shared" else correlation_id(kind, n)
    record = CallRecord(
        correlid=correlation_id(kind, n),
        inbox=f"projects/{PROJECT}/subscriptions/{inbox}",
        lasting=kind == "shared",
        project_id=PROJECT,
        gcp_conn_id="google_cloud_default",
    )
    trigger = CompletionTrigger(call=record.to_json())
    trigger.task_instance = Task(n)
    return trigger


def stock_trigger(kind: str, n: int) -> Any:
    """Make Airflow's trigger, as its deferred sensor does."""
    from airflow.providers.google.cloud.triggers.pubsub import PubsubPullTrigger

    return PubsubPullTrigger(
        project_id=PROJECT,
        subscription=correlation_id(kind, n),
        max_messages=1,
        ack_messages=True,
        gcp_conn_id="google_cloud_default",
        return_immediately=True,
    )


class Triggers:
    """The triggers, and when they fired."""

    def __init__(self, kind: str, number: int) -> None:
        make = stock_trigger if kind == "stock" else longcall_trigger
        self.fired_s: list[float] = []
        self._kind = kind
        self._triggers = [make(kind, n) for n in range(number)]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return when every one waits."""
        self._tasks = [asyncio.create_task(self._run(trigger.run())) for trigger in self._triggers]
        await asyncio.sleep(15)  # the stock trigger has polled once by then
        for _ in range(15):
            if (await measure(2))["cpu"] < CALM:
                break

    async def _run(self, events: AsyncIterator[Any]) -> None:
        async for _event in events:
            self.fired_s.append(time.time())

    async def wait(self) -> None:
        """Return when all have ended."""
        await asyncio.gather(*self._tasks)


def open_connections() -> list[Any]:
    """Return the connections of this process."""
    return [each for each in psutil.Process().net_connections("tcp") if each.status == "ESTABLISHED"]


async def _first_event(trigger: Any) -> Any:
    return await anext(aiter(trigger.run()))


async def warm_up(kind: str) -> None:
    """Import and connect: what one wait costs at first is no cost of the many."""
    task = asyncio.create_task(
        _first_event((stock_trigger if kind == "stock" else longcall_trigger)(kind, 0))
    )
    await asyncio.sleep(5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def measure(seconds: float) -> dict[str, float]:
    """Look at this process for a while."""
    process = psutil.Process()
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(seconds)
    used = sum(process.cpu_times()[:2]) - before
    return {
        "cpu": used / seconds,
        "rss_bytes": process.memory_info().rss,
        "connections": len(open_connections()),
    }


async def main(kind: str, number: int) -> None:
    """Do as told."""
    os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps(
        {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": PROJECT}}
    )
    if kind != "stock":
        from airflow.sdk.execution_time import task_runner

        task_runner.SUPERVISOR_COMMS = Supervisor()
    await warm_up(kind)
    triggers = Triggers(kind, number)
    while True:
        line = await asyncio.to_thread(sys.stdin.readline)
        match line.split():
            case ["start"]:
                await triggers.start()
                answer: dict[str, float] = {}
            case ["measure", seconds]:
                answer = await measure(float(seconds))
            case ["wake"]:
                await triggers.wait()
                answer = {
                    "first_s": min(triggers.fired_s),
                    "last_s": max(triggers.fired_s),
                }
            case _:
                return
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
