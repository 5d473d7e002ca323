"""The trigger: waits in the triggerer for one call's completion, on the router that all waits share."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from asgiref.sync import sync_to_async

from longcall._core.errors import LongcallError
from longcall.airflow.completion import completion_key, message_from_json, message_to_json, status_report
from longcall.airflow.ending import Ending, end_call
from longcall.airflow.identity import signing_key
from longcall.airflow.metrics import count_reconciled
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.routers import SharedRouter, shared_router
from longcall.airflow.service_hook import ServiceHook
from longcall.airflow.shown import ShownLines
from longcall.airflow.version_compat import (
    TRIGGER_HAS_ON_KILL,
    BaseTrigger,
    TaskKey,
    TriggerEvent,
    load_xcom,
    store_xcom,
    task_is_deferred,
)
from longcall.client import Arrival, CallTimeout, CallWatch, Patience
from longcall.contract import (
    CallStatus,
    ContractError,
    JsonValue,
    Message,
    Report,
    SigningKey,
    encode_report,
    is_completion,
)
from longcall.transport import InboxNotFound, TransportDenied

__all__ = ["CompletionTrigger", "EventStatus"]

_ASK_AFTER_S: Final = 300.0
"""Without news of a call for so long, its service is asked. Heartbeats are news."""


class EventStatus:
    """What `status` in the trigger's event can be."""

    COMPLETED: Final = "completed"
    TIMED_OUT: Final = "timed_out"
    FAILED: Final = "failed"


class CompletionTrigger(BaseTrigger):
    """Fires once, when the call has its completion, its deadline has passed, or its inbox is gone.

    The event is small and says nothing of the result: `{"status", "correlid"}`; when waiting failed also
    `error`, `retryable`, and `given_up`: the work is cancelled and the inbox deleted already. The completion
    itself is in the task's XCom `longcall_completion.ID` before the event leaves. Where no task instance is
    known (`dag.test()`), it rides in the event.

    Killed and started again, here or in another triggerer, it waits on, and fires for a completion
    that came in between. Two copies running at once do no harm.
    """

    _is_warm: ClassVar[bool] = False

    def __init__(
        self, *, call: dict[str, JsonValue], keep_inbox: bool = False, not_before_s: float = 0.0
    ) -> None:
        """Keep what to wait for.

        Args:
            call: a `CallRecord` as JSON.
            keep_inbox: leave the clean-up to another task.
            not_before_s: fire at this instant at the earliest, in seconds since the epoch.
        """
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's has no hints
        self.call = call
        self.keep_inbox = keep_inbox
        self.not_before_s = not_before_s
        self._fired = False
        self._has_arrived = False
        self._shown = ShownLines()

    def serialize(self) -> tuple[str, dict[str, object]]:
        """Return the class path and the arguments that make this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"call": self.call, "keep_inbox": self.keep_inbox, "not_before_s": self.not_before_s},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event."""
        record = CallRecord.from_json(self.call)
        try:
            event = await self._wait(record)
            await self._hold_back()
        except asyncio.CancelledError:
            if not TRIGGER_HAS_ON_KILL:
                await self.on_kill()
            raise
        self._fired = True
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Cancel the remote work and delete the inbox, when it was a user who ended the task.

        Airflow also calls this when the trigger has merely moved to another triggerer; a call that
        its task still waits for is left alone.
        """
        record = CallRecord.from_json(self.call)
        if self._fired:
            return
        if await self._still_awaited(record):
            self.log.info("The wait for call %s has moved to another triggerer", record.correlid)
            return
        self.log.info("The task was ended by a user, and so its call %s is", record.correlid)
        if self._has_arrived:
            self.log.warning("The completion of call %s came too late: it resumes nobody", record.correlid)
        await self._give_up(record)

    async def _give_up(self, record: CallRecord) -> bool:
        """Cancel the work and delete the inbox; tell whether nothing is left to do."""
        ending = await sync_to_async(end_call, thread_sensitive=False)(record)
        self.log.info("Call %s: %s", record.correlid, ending.value)
        if ending is Ending.UNREACHED:
            self.log.warning("Inbox %s is left, for a sweep to find the call by", record.inbox)
            return False
        if not record.lasting:
            async with shared_router(record.route) as shared:
                await self._delete_inbox(shared, record)
        return True

    async def _still_awaited(self, record: CallRecord) -> bool:
        task: TaskKey | None = self.task_instance
        if task is None or not await task_is_deferred(task):
            return False
        # Deferred: moved to another triggerer, or cleared and already waiting for a call of its own.
        current = await load_xcom(task, CALL_XCOM_KEY)
        return isinstance(current, dict) and current.get("correlid") == record.correlid

    async def _wait(self, record: CallRecord) -> dict[str, JsonValue]:
        event: dict[str, JsonValue] = {"correlid": record.correlid}
        try:
            async with shared_router(record.route) as shared, self._warm_up():
                arrived = await self._receive_once(shared, record)
                if arrived is None:
                    given_up = await self._give_up(record)
                    return event | {"status": EventStatus.TIMED_OUT, "given_up": given_up}
                if not (record.lasting or self.keep_inbox):
                    await self._delete_inbox(shared, record)
            return event | arrived | {"status": EventStatus.COMPLETED}
        except LongcallError as error:
            # A retry makes a new inbox; it cannot make new credentials.
            retryable = not isinstance(error, TransportDenied)
            given_up = await self._give_up(record)
            event |= {"status": EventStatus.FAILED, "error": str(error), "retryable": retryable}
            return event | {"given_up": given_up}

    @asynccontextmanager
    async def _warm_up(self) -> AsyncIterator[None]:
        """Have Airflow build what answers a trigger's requests, while there is time.

        It does so at the first request of a triggerer, which then takes seconds: too long for the one
        that stores a completion. The answer does not matter here.
        """
        task: TaskKey | None = self.task_instance
        if task is None or CompletionTrigger._is_warm:
            yield
            return
        CompletionTrigger._is_warm = True
        asking = asyncio.create_task(load_xcom(task, CALL_XCOM_KEY))
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    async def _hold_back(self) -> None:
        """Let the scheduler first learn that the worker has let go, or it fails the task: see ADR 3."""
        if self.task_instance is not None:
            await asyncio.sleep(max(0.0, self.not_before_s - time.time()))

    async def _receive_once(self, shared: SharedRouter, record: CallRecord) -> dict[str, JsonValue] | None:
        """Receive the completion unless an earlier run of this trigger has; None when time is up.

        An own inbox that is gone was deleted after its completion was stored. A shared inbox stays, and
        says nothing of a completion that was acknowledged, so there the store is asked first.
        """
        if record.lasting and await self._is_stored(record):
            return {}
        try:
            return await self._receive(shared, record)
        except CallTimeout:
            return None
        except InboxNotFound:
            if await self._is_stored(record):
                return {}
            raise

    async def _receive(self, shared: SharedRouter, record: CallRecord) -> dict[str, JsonValue]:
        """Wait for the completion and make it durable; return what the event must carry for that."""
        async with shared.router.subscribe(record.correlid, inbox=record.inbox) as arrivals:
            self.log.info("Waiting for the completion of call %s in inbox %s", record.correlid, record.inbox)
            watch = CallWatch(
                arrivals,
                correlation_id=record.correlid,
                ask=functools.partial(self._ask, record),
                patience=self._patience(record),
                signing_keys=_signing_keys(record),
            )
            while True:
                news = await watch.next()
                if isinstance(news, Arrival):
                    if is_completion(news.report.body):
                        if watch.left_out:
                            said = ", ".join(f"{n} {why}" for why, n in sorted(watch.left_out.items()))
                            self.log.info("Reports that were left out on the way: %s", said)
                        for level, text in self._shown.end():
                            self.log.log(level, "%s", text)
                        return await self._keep(news.message, record, arrival=news)
                    self._show(news.report)
                else:
                    count_reconciled()
                    report = status_report(record.correlid, news, location=record.location)
                    return await self._keep(encode_report(report), record)

    async def _ask(self, record: CallRecord) -> CallStatus | None:
        if not record.location:
            return None
        hook = ServiceHook(record.http_conn_id)
        return await sync_to_async(hook.status, thread_sensitive=False)(record.location)

    def _patience(self, record: CallRecord) -> Patience:
        return Patience(
            ask_after_s=_ASK_AFTER_S,
            silence_s=record.silence_s,
            timeout_s=_seconds_until(record.deadline_s),
        )

    async def _keep(
        self, message: Message, record: CallRecord, *, arrival: Arrival | None = None
    ) -> dict[str, JsonValue]:
        stored = message_to_json(message)
        task: TaskKey | None = self.task_instance
        if task is not None:
            await store_xcom(task, completion_key(record.correlid), stored)
        if record.lasting and arrival is not None:
            await arrival.acknowledge()  # an own inbox is deleted instead, by this task or a later one
        self._has_arrived = True
        self.log.info("The completion of call %s has arrived", record.correlid)
        return {} if task is not None else {"completion": stored}

    async def _is_stored(self, record: CallRecord) -> bool:
        task: TaskKey | None = self.task_instance
        if task is None:
            return False
        value = await load_xcom(task, completion_key(record.correlid))
        return bool(value) and message_from_json(value).attributes.get("correlid") == record.correlid

    async def _delete_inbox(self, shared: SharedRouter, record: CallRecord) -> None:
        try:
            await shared.transport.delete_inbox(record.inbox)
            self.log.info("Deleted inbox %s", record.inbox)
        except LongcallError as error:
            # Its expiration deletes it when this could not; a completion must not wait for that.
            self.log.warning("Inbox %s is left to expire: %s", record.inbox, error)

    def _show(self, report: Report) -> None:
        for level, text in self._shown.of(report.body, now_s=time.monotonic()):
            self.log.log(level, "%s", text)


def _signing_keys(record: CallRecord) -> tuple[SigningKey, ...]:
    key = signing_key(record.correlid) if record.is_signed else None
    if record.is_signed and key is None:
        raise ContractError("fernet_key", "missing here: the triggerer needs the same as the workers")
    return () if key is None else (key,)


def _seconds_until(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else max(0.0, deadline_s - time.time())
