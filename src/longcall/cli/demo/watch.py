"""Looks at the topic, the broker and Airflow while the DAGs run, and tells the story."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from longcall.cli.demo.errors import DemoFailed
from longcall.cli.demo.inboxes import InboxList
from longcall.cli.demo.story import Line, Story
from longcall.cli.stack import LocalStack, RunState, TaskInstance
from longcall.contract import JsonValue, MalformedReport, Message, decode_report, resource_path
from longcall.transport import InboxSpec, Transport

__all__ = ["WATCHER_ID", "Watch"]

WATCHER_ID = "longcall-demo-audience"
_CALL_XCOM_KEY = "longcall_call"
_SHOWN_STATES = frozenset({"deferred", "success", "failed"})
_INBOX_POLL_INTERVAL_S = 0.2
# Every look makes Airflow's API server work, on the cores that the models train on.
_AIRFLOW_POLL_INTERVAL_S = 0.4
_LEASE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    run: RunState
    tasks: list[TaskInstance]


class Watch:
    """The audience: a subscription of its own on the topic, and two listings that are asked again and again.

    Args:
        stack: running, Airflow included.
        transport: connected to the stack's broker, in this event loop; the caller closes it.
        story: is told what is seen.
        show: is given the lines that are new.
    """

    def __init__(
        self,
        stack: LocalStack,
        *,
        transport: Transport,
        story: Story,
        show: Callable[[Iterable[Line]], None],
    ) -> None:
        self._stack = stack
        self._transport = transport
        self._story = story
        self._show = show
        # What each waiting task wrote down about its call, by run, task and map index.
        self._records: dict[tuple[str, str, int], JsonValue] = {}
        self._listing = asyncio.Lock()
        path = {"project": stack.project, "field": "demo"}
        self._topic = resource_path(stack.topic, collection="topics", **path)
        self._inbox = resource_path(WATCHER_ID, collection="subscriptions", **path)

    async def run(self, dag_ids: Iterable[str], *, timeout_s: float) -> None:
        """Start a run of each DAG, watch until all of it is over and cleaned up, and leave no subscription.

        Raises:
            DemoFailed: a run did not succeed, or not all was over in time.
            StackError: a process of the stack ended, or Airflow did not answer.
        """
        await self._transport.create_inbox(InboxSpec(name=self._inbox, topic=self._topic, filter=""))
        try:
            with InboxList(self._stack.pubsub_host, self._stack.project) as inboxes:
                await self._watch_all(inboxes, dag_ids, timeout_s=timeout_s)
        finally:
            await self._transport.delete_inbox(self._inbox)

    async def _watch_all(self, inboxes: InboxList, dag_ids: Iterable[str], *, timeout_s: float) -> None:
        tasks = [
            asyncio.create_task(self._watch_airflow(dag_ids)),
            asyncio.create_task(self._watch_topic(inboxes)),
            asyncio.create_task(self._watch_inboxes(inboxes)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                going_on = ", ".join(
                    call.title for call in self._story.calls.values() if not call.inbox_deleted
                )
                raise DemoFailed(f"not over after {timeout_s:g} s; going on: {going_on or 'the DAG runs'}")
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_topic(self, inboxes: InboxList) -> None:
        async with self._transport.open_stream(self._inbox, lease_s=_LEASE_S) as stream:
            async for delivery in stream:
                await self._see_message(delivery.message, inboxes)
                await self._transport.acknowledge(self._inbox, [delivery.ack_id])

    async def _see_message(self, message: Message, inboxes: InboxList) -> None:
        try:
            report = decode_report(message)
        except MalformedReport as error:
            self._show([Line(call="?", text=f"a message that is no report: {error}")])
            return
        if report is None:
            return
        if report.correlation_id not in self._story.calls:
            # Its inbox came first; so that it is told first, look now and not at the next interval.
            await self._list_inboxes(inboxes)
        published = message.publish_time or datetime.now(UTC)
        self._show(self._story.see_report(report, published=published))

    async def _watch_inboxes(self, inboxes: InboxList) -> None:
        while True:
            await self._list_inboxes(inboxes)
            await asyncio.sleep(_INBOX_POLL_INTERVAL_S)

    async def _list_inboxes(self, inboxes: InboxList) -> None:
        async with self._listing:
            ids = await asyncio.to_thread(inboxes.ids)
            self._show(self._story.see_inboxes(ids - {WATCHER_ID}))

    async def _watch_airflow(self, dag_ids: Iterable[str]) -> None:
        airflow = self._stack.airflow
        runs = [(dag_id, await asyncio.to_thread(airflow.trigger, dag_id)) for dag_id in dag_ids]
        while True:
            looks = [await asyncio.to_thread(self._look_at_run, *run) for run in runs]
            slots = await asyncio.to_thread(airflow.slots)
            self._story.see_slots(waiting=slots.deferred, in_use=slots.in_use)
            for look in looks:
                self._tell(look)
            failed = [look.run for look in looks if look.run.state == "failed"]
            if failed:
                raise DemoFailed(await asyncio.to_thread(self._explain, failed[0]))
            if all(look.run.ended for look in looks) and self._story.settled:
                return
            self._stack.check()
            await asyncio.sleep(_AIRFLOW_POLL_INTERVAL_S)

    def _look_at_run(self, dag_id: str, run_id: str) -> _Look:
        # The state first: what the tasks show afterwards is at least as new, so none of them is missed.
        run = self._stack.airflow.run_state(dag_id, run_id)
        tasks = self._stack.airflow.task_instances(dag_id, run_id)
        for task in tasks:
            key = (run_id, task.task_id, task.map_index)
            if task.state in _SHOWN_STATES and key not in self._records:
                self._records[key] = self._stack.airflow.xcom(
                    dag_id, run_id, task.task_id, key=_CALL_XCOM_KEY, map_index=task.map_index
                )
        return _Look(run=run, tasks=tasks)

    def _tell(self, look: _Look) -> None:
        for task in look.tasks:
            record = self._records.get((look.run.run_id, task.task_id, task.map_index))
            if isinstance(record, dict):
                correlid, accepted_ms = str(record["correlid"]), int(str(record["accepted_ms"]))
                now = datetime.now(UTC)
                self._show(self._story.see_task(task, correlid=correlid, accepted_ms=accepted_ms, now=now))

    def _explain(self, run: RunState) -> str:
        airflow = self._stack.airflow
        failed = [task for task in airflow.task_instances(run.dag_id, run.run_id) if task.state == "failed"]
        if not failed:
            return f"DAG {run.dag_id} failed and no task of it did: {self._stack.logs_dir / 'scheduler.log'}"
        task = failed[0]
        log = airflow.task_log(
            run.dag_id, run.run_id, task.task_id, try_number=task.try_number, map_index=task.map_index
        )
        last_lines = "\n".join(f"    {line[:300]}" for line in log.splitlines()[-8:])
        where = f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else task.task_id
        folder = self._stack.home / "airflow" / "task-logs"
        return f"task {where} of DAG {run.dag_id} failed; its log, in {folder}, ends with:\n{last_lines}"
