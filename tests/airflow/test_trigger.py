"""The trigger itself, on a real broker, with somebody in the place of Airflow's supervisor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from longcall.airflow import CompletionTrigger
from longcall.airflow.completion import completion_key
from longcall.airflow.record import CallRecord
from longcall.airflow.version_compat import STORES_BEFORE_EVENTS, TriggerEvent
from longcall.client import PerCallInbox
from longcall.contract import Message
from longcall.testing import running_broker
from longcall.transport import InboxNotFound
from longcall.transport.pubsub import PubSubTransport

pytestmark = pytest.mark.skipif(not STORES_BEFORE_EVENTS, reason="before 3.3 the event waits for the store")

TOPIC = "projects/p/topics/reports"


@dataclass(frozen=True)
class Task:
    dag_id: str = "dag"
    task_id: str = "task"
    run_id: str = "run"
    map_index: int = -1


@dataclass
class Supervisor:
    """Takes the trigger's requests as Airflow's supervisor does, and stores when it is let."""

    asked_to_store: asyncio.Event = field(default_factory=asyncio.Event)
    may_store: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False
    stored: dict[str, Any] = field(default_factory=dict)
    asked_for_connection: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def send(self, message: Any) -> Any:
        """Answer who asks from a thread."""
        from airflow.sdk.execution_time.comms import ConnectionResult, GetConnection

        assert isinstance(message, GetConnection)
        self.asked_for_connection.set()
        self.may_answer.wait(30)
        return ConnectionResult(conn_id=message.conn_id, conn_type="longcall", password="s" * 24)

    async def asend(self, message: Any) -> Any:
        from airflow.sdk.execution_time.comms import SetXCom, XComResult

        if not isinstance(message, SetXCom):
            return XComResult(key=message.key, value=None)
        self.asked_to_store.set()
        await self.may_store.wait()
        if self.fails:
            raise RuntimeError("database is locked")
        self.stored[message.key] = message.value
        return None


@dataclass
class Wait:
    """A trigger that waits for a call of its own inbox."""

    supervisor: Supervisor
    transport: PubSubTransport
    record: CallRecord
    trigger: CompletionTrigger

    async def inbox_exists(self) -> bool:
        try:
            async with self.transport.open_stream(self.record.inbox, lease_s=10) as stream:
                async with asyncio.timeout(5):
                    await anext(aiter(stream))
        except InboxNotFound:
            return False
        except TimeoutError:
            return True
        return True

    async def fire(self) -> tuple[TriggerEvent, asyncio.Task[None]]:
        """Publish the completion; return the event, and the rest of the trigger's run."""
        events: asyncio.Queue[TriggerEvent] = asyncio.Queue()

        async def run() -> None:
            async for event in self.trigger.run():
                events.put_nowait(event)

        running = asyncio.create_task(run())
        message = Message(data=b"42", attributes={"correlid": self.record.correlid})
        await self.transport.publish(TOPIC, message)
        async with asyncio.timeout(30):
            return await events.get(), running


@pytest.fixture
async def wait(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wait]:
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    with running_broker() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        transport = PubSubTransport(emulator_host=host)
        await transport.create_topic(TOPIC)
        address = PerCallInbox(topic=TOPIC).new_call()
        await transport.create_inbox(address.inbox)
        record = CallRecord(
            correlid=address.correlation_id,
            inbox=address.inbox.name,
            lasting=False,
            project_id="p",
            gcp_conn_id="google_cloud_default",
        )
        trigger = CompletionTrigger(call=record.to_json())
        trigger.task_instance = Task()
        yield Wait(supervisor, transport, record, trigger)
        await transport.aclose()


async def test_event_leaves_once_the_store_is_asked_for_and_the_inbox_once_it_is_stored(wait: Wait) -> None:
    event, running = await wait.fire()

    assert wait.supervisor.asked_to_store.is_set(), "or the event could be read before the store"
    assert not wait.supervisor.stored
    assert event.payload == {"correlid": wait.record.correlid, "status": "completed"}
    assert await wait.inbox_exists()
    wait.supervisor.may_store.set()
    await running
    assert wait.supervisor.stored[completion_key(wait.record.correlid)]["data_base64"] == "NDI="
    assert not await wait.inbox_exists()
    assert event.payload["inbox_deleted"] is True


async def test_completion_that_could_not_be_stored_stays_in_its_inbox(wait: Wait) -> None:
    wait.supervisor.fails = True
    event, running = await wait.fire()
    wait.supervisor.may_store.set()

    with pytest.raises(RuntimeError, match="locked"):
        await running
    assert "inbox_deleted" not in event.payload
    assert await wait.inbox_exists()


async def test_trigger_cancelled_after_its_event_still_stores_and_cleans_up(wait: Wait) -> None:
    """Airflow cancels a trigger whose event it has handled."""
    _event, running = await wait.fire()
    running.cancel()
    await asyncio.sleep(0)
    wait.supervisor.may_store.set()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert completion_key(wait.record.correlid) in wait.supervisor.stored
    assert not await wait.inbox_exists()


async def test_cancellation_reaches_airflow_with_its_message_from_a_thread(wait: Wait) -> None:
    """Airflow tells by it whether a user has ended the task; without, it never asks for `on_kill`."""
    asked, supervisor = wait.record.to_json(), wait.supervisor
    trigger = CompletionTrigger(call=asked | {"is_signed": True, "longcall_conn_id": "calls"})
    trigger.task_instance = Task()
    running = asyncio.create_task(anext(trigger.run()))
    assert await asyncio.to_thread(supervisor.asked_for_connection.wait, 30)

    running.cancel("a user has ended it")
    with pytest.raises(asyncio.CancelledError, match="a user has ended it"):
        await running
    supervisor.may_answer.set()


async def test_without_a_task_instance_the_completion_rides_in_the_event_and_all_is_done_before(
    wait: Wait,
) -> None:
    """As `dag.test()` runs it: the first event is taken, and the generator closed."""
    wait.trigger.task_instance = None
    message = Message(data=b"42", attributes={"correlid": wait.record.correlid})
    await wait.transport.publish(TOPIC, message)
    running = wait.trigger.run()
    async with asyncio.timeout(30):
        event = await anext(running)
    await running.aclose()

    assert event.payload["completion"]["data_base64"] == "NDI="
    assert event.payload["inbox_deleted"] is True
    assert not wait.supervisor.asked_to_store.is_set()
    assert not await wait.inbox_exists()
