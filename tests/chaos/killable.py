"""A service that kills itself (SIGKILL) once, at the instant that it is told.

    KILLABLE_STORE=… KILLABLE_FOLDER=… KILLABLE_INSTANT=… KILLABLE_TARGET=… \\
        python -c "import killable; killable.main()"

The instants are those between two steps of a call's life. The product knows nothing of this:
the store and the transport are replaced by ones that die.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from longcall._core.clock import SystemClock
from longcall.cli.listening import listen
from longcall.contract import JsonValue, Message, decode_report, is_completion
from longcall.service import Call, Service, ServiceConfig
from longcall.service.server import serve
from longcall.service.store import CallStore, is_shared
from longcall.service.store.postgres import PostgresDatabase
from longcall.service.store.sqlite import SqliteDatabase
from longcall.transport.pubsub import PubSubTransport

TOPIC = "projects/p/topics/completions"
INSTANTS = (
    "before the call is stored",
    "stored, before the 202",
    "claimed, before the work",
    "in the middle of the work",
    "worked, before the outcome is stored",
    "outcome stored, before it is published",
    "published, before that is noted",
    "published and noted",
)
FOLDER = Path(os.environ["KILLABLE_FOLDER"])
INSTANT = os.environ["KILLABLE_INSTANT"]
TARGET = os.environ["KILLABLE_TARGET"]


def die_at(instant: str, correlation_id: str) -> None:
    """Kill the service if this is the instant and nobody has died of it before."""
    if (instant, correlation_id) != (INSTANT, TARGET):
        return
    try:
        (FOLDER / f"died-{TARGET}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(int(os.environ["KILLABLE_PID"]), signal.SIGKILL)
    time.sleep(60)  # until it takes effect, or our own death signal comes


def note_start(call: Call) -> None:
    with (FOLDER / f"starts-{call.id}").open("a") as file:
        file.write(f"{call.attempt}\n")


class KillingStore(CallStore):
    """A store whose process dies before or after a change."""

    async def accept(self, request: Any, **settings: Any) -> Any:
        die_at(INSTANTS[0], request.correlation_id)
        accepted = await super().accept(request, **settings)
        die_at(INSTANTS[1], request.correlation_id)
        return accepted

    async def claim(self, handlers: Any, *, owner: str) -> Any:
        work = await super().claim(handlers, owner=owner)
        if work is not None:
            die_at(INSTANTS[2], work.correlation_id)
        return work

    async def claim_call(self, correlation_id: str, *, owner: str) -> Any:
        work = await super().claim_call(correlation_id, owner=owner)
        if work is not None:
            die_at(INSTANTS[2], correlation_id)
        return work

    async def end(self, correlation_id: str, completion: Any, **about: Any) -> bool:
        die_at(INSTANTS[4], correlation_id)
        ended = await super().end(correlation_id, completion, **about)
        die_at(INSTANTS[5], correlation_id)
        return ended

    async def note_published(self, correlation_id: str) -> None:
        await super().note_published(correlation_id)
        die_at(INSTANTS[7], correlation_id)


class KillingTransport(PubSubTransport):
    """A transport whose process dies when a completion is out."""

    async def publish(self, topic: str, message: Message) -> str:
        published = await super().publish(topic, message)
        report = decode_report(message)
        if report is not None and is_completion(report.body):
            die_at(INSTANTS[6], report.correlation_id)
        return published


service = Service("killable")


@service.handler("/task")
async def task(call: Call) -> JsonValue:
    note_start(call)
    call.progress(1, 2)
    await asyncio.sleep(0.05)
    die_at(INSTANTS[3], call.id)
    return {"of": call.id}


@service.handler("/process")
def process(call: Call) -> JsonValue:
    note_start(call)
    call.progress(1, 2)
    time.sleep(0.05)
    die_at(INSTANTS[3], call.id)
    return {"of": call.id}


def main() -> int:
    os.environ["KILLABLE_PID"] = str(os.getpid())
    where = os.environ["KILLABLE_STORE"]
    database = (
        PostgresDatabase(where, service="killable")
        if is_shared(where)
        else SqliteDatabase(Path(where), service="killable")
    )
    store = KillingStore(database, clock=SystemClock())
    transport = KillingTransport(emulator_host=os.environ["PUBSUB_EMULATOR_HOST"])
    config = ServiceConfig(topic=TOPIC, store=where, takeover_s=1)
    app = service.asgi(config, transport=transport, store=store)
    listener = listen("127.0.0.1", 0)
    return serve(
        app,
        listener,
        log_level="warning",
        on_started=lambda: print(listener.getsockname()[1], flush=True),
    )
