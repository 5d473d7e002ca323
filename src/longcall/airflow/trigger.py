"""The trigger: waits in the triggerer for one call's completion, on the router that all waits share."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

from longcall._core.errors import LongcallError
from longcall.airflow.completion import completion_key, message_from_json, message_to_json, status_report
from longcall.airflow.ending import Ending, end_call
from longcall.airflow.identity import signing_keys
from longcall.airflow.in_thread import in_any_thread
from longcall.airflow.metrics import count_reconciled
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.routers import SharedRouter, shared_router
from longcall.airflow.service_hook import ServiceHook
from longcall.airflow.shown import ShownLines
from longcall.airflow.version_compat import (
    STORES_BEFORE_EVENTS,
    TRIGGER_HAS_ON_KILL,
    BaseTrigger,
    TaskKey,
    TriggerEvent,
    load_xcom,
    store_xcom,
    task_is_deferred,
)
from longcall.client import Arrival, CallTimeout, CallWatch, Patience, delete_address
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
from longcall.transport.port import Transport

__all__ = ["CompletionTrigger", "EventStatus"]

_ASK_AFTER_S: Final = 300.0
"""Without news of a call for so long, its service is asked. Heartbeats are news."""


class EventStatus:
    """What `status` in the trigger's event can be."""

    COMPLETED: Final = "completed"
    TIMED_OUT: Final = "timed_out"
    FAILED: Final = "failed"


@dataclass(slots=True)
class _Received:
    """A completion, and the arrival to acknowledge, unless it is the service's own word."""

    message: Message
    arrival: Arrival | None = None


@dataclass(slots=True)
class _News:
    """What a wait has ended with: the event, and what remains to be settled where there is a transport."""

    event: dict[str, JsonValue]
    transport: Transport | None = None
    received: _Received | None = None


class CompletionTrigger(BaseTrigger):
    """Fires once, when the call has its completion, its deadline has passed, or its inbox is gone.

    The event is small and says nothing of the result: `{"status", "correlid"}`, and `inbox_deleted` when
    there was time for that; when waiting failed also `error`, `retryable`, and `given_up`: the work is
    cancelled and the inbox deleted already. The completion itself is in the task's XCom
    `longcall_completion.ID` before the event leaves the triggerer. Where no task instance is known
    (`dag.test()`), it rides in the event.

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
            if self.task_instance is None:  # `dag.test()` drops a generator at its event: all is done by then
                event = await self.wait()
                self._fired = True
                yield TriggerEvent(event)
                return
            async with AsyncExitStack() as connection:
                news = await self._wait(record, connection)
                async with self._settling(news, record):
                    await self._hold_back()
                    self._fired = True
                    yield TriggerEvent(news.event)
        except asyncio.CancelledError:
            if not TRIGGER_HAS_ON_KILL:
                await self.on_kill()
            raise

    async def wait(self) -> dict[str, JsonValue]:
        """Wait for the call outside of a triggerer, return the event's payload. Cancelling ends no call."""
        record = CallRecord.from_json(self.call)
        async with AsyncExitStack() as connection:
            news = await self._wait(record, connection)
            async with self._settling(news, record):
                pass
        return news.event

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
        ending = await in_any_thread(end_call, record)
        self.log.info("Call %s: %s", record.correlid, ending.value)
        if ending is Ending.UNREACHED:
            self.log.warning("Inbox %s is left, for a sweep to find the call by", record.inbox)
            return False
        if not record.lasting:
            async with shared_router(record.route) as shared:
                return await self._delete_inbox(shared.transport, record)
        return True

    async def _still_awaited(self, record: CallRecord) -> bool:
        task: TaskKey | None = self.task_instance
        if task is None or not await task_is_deferred(task):
            return False
        # Deferred: moved to another triggerer, or cleared and already waiting for a call of its own.
        current = await load_xcom(task, CALL_XCOM_KEY)
        return isinstance(current, dict) and current.get("correlid") == record.correlid

    async def _wait(self, record: CallRecord, connection: AsyncExitStack) -> _News:
        """Wait until there is something to say; what is to be settled then needs the connection."""
        event: dict[str, JsonValue] = {"correlid": record.correlid}
        try:
            shared = await connection.enter_async_context(shared_router(record.route))
            await connection.enter_async_context(self._warm_up())
            received = await self._receive_once(shared, record, connection)
        except CallTimeout:
            given_up = await self._give_up(record)
            return _News(event | {"status": EventStatus.TIMED_OUT, "given_up": given_up})
        except LongcallError as error:
            # A retry makes a new inbox; it cannot make new credentials.
            retryable = not isinstance(error, TransportDenied)
            given_up = await self._give_up(record)
            event |= {"status": EventStatus.FAILED, "error": str(error), "retryable": retryable}
            return _News(event | {"given_up": given_up})
        return _News(event | {"status": EventStatus.COMPLETED}, shared.transport, received)

    @asynccontextmanager
    async def _settling(self, news: _News, record: CallRecord) -> AsyncIterator[None]:
        """Make durable what the event stands for while it is on its way; leaving waits for that. See ADR 1.

        Where Airflow keeps the order of a trigger's requests, the completion is stored before the event
        can leave this process; elsewhere the event waits for it.
        """
        if news.transport is None:
            yield
            return
        settling = asyncio.create_task(self._settle(news, news.transport, record))
        try:
            if self.task_instance is not None and STORES_BEFORE_EVENTS:
                await asyncio.sleep(0)  # the request to store is on its way now
            else:
                await asyncio.shield(settling)
            yield
        finally:
            await _finished(settling)

    async def _settle(self, news: _News, transport: Transport, record: CallRecord) -> None:
        """Store the completion, and only then drop what it arrived in."""
        task: TaskKey | None = self.task_instance
        if news.received is not None:
            stored = message_to_json(news.received.message)
            if task is None:
                news.event["completion"] = stored
            else:
                await store_xcom(task, completion_key(record.correlid), stored)
        self._has_arrived = True
        self.log.info("The completion of call %s has arrived", record.correlid)
        if not record.lasting:
            if not self.keep_inbox:
                news.event["inbox_deleted"] = await self._delete_inbox(transport, record)
        elif news.received is not None and news.received.arrival is not None:
            try:
                await news.received.arrival.acknowledge()
            except LongcallError as error:
                self.log.warning("The completion of call %s may come again: %s", record.correlid, error)

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
        await asyncio.sleep(max(0.0, self.not_before_s - time.time()))

    async def _receive_once(
        self, shared: SharedRouter, record: CallRecord, connection: AsyncExitStack
    ) -> _Received | None:
        """Receive the completion; None: an earlier run of this trigger has stored it.

        An own inbox that is gone was deleted after its completion was stored. A shared inbox stays, and
        says nothing of a completion that was acknowledged, so there the store is asked first.
        """
        if record.lasting and await self._is_stored(record):
            return None
        try:
            return await self._receive(shared, record, connection)
        except InboxNotFound:
            if await self._is_stored(record):
                return None
            raise

    async def _receive(
        self, shared: SharedRouter, record: CallRecord, connection: AsyncExitStack
    ) -> _Received:
        """Wait for the completion, and show what else the service reports."""
        arrivals = await connection.enter_async_context(
            shared.router.subscribe(record.correlid, inbox=record.inbox, has_own_topic=bool(record.own_topic))
        )
        self.log.info("Waiting for the completion of call %s in inbox %s", record.correlid, record.inbox)
        watch = CallWatch(
            arrivals,
            correlation_id=record.correlid,
            ask=functools.partial(self._ask, record),
            patience=self._patience(record),
            signing_keys=await _signing_keys(shared, record),
        )
        while True:
            news = await watch.next()
            if not isinstance(news, Arrival):
                count_reconciled()
                report = status_report(record.correlid, news, location=record.location)
                return _Received(encode_report(report))
            if is_completion(news.report.body):
                if watch.left_out:
                    said = ", ".join(f"{n} {why}" for why, n in sorted(watch.left_out.items()))
                    self.log.info("Reports that were left out on the way: %s", said)
                for level, text in self._shown.end():
                    self.log.log(level, "%s", text)
                return _Received(news.message, news)
            self._show(news.report)

    async def _ask(self, record: CallRecord) -> CallStatus | None:
        if not record.location:
            return None
        hook = ServiceHook(record.http_conn_id)
        return await in_any_thread(hook.status, record.location)

    def _patience(self, record: CallRecord) -> Patience:
        return Patience(
            ask_after_s=_ASK_AFTER_S,
            silence_s=record.silence_s,
            timeout_s=_seconds_until(record.deadline_s),
        )

    async def _is_stored(self, record: CallRecord) -> bool:
        task: TaskKey | None = self.task_instance
        if task is None:
            return False
        value = await load_xcom(task, completion_key(record.correlid))
        return bool(value) and message_from_json(value).attributes.get("correlid") == record.correlid

    async def _delete_inbox(self, transport: Transport, record: CallRecord) -> bool:
        try:
            await delete_address(transport, inbox=record.inbox, topic=record.own_topic)
        except LongcallError as error:
            # The worker that resumes tries again; its expiration deletes it in the end.
            self.log.warning("Inbox %s could not be deleted: %s", record.inbox, error)
            return False
        self.log.info("Deleted inbox %s", record.inbox)
        return True

    def _show(self, report: Report) -> None:
        for level, text in self._shown.of(report.body, now_s=time.monotonic()):
            self.log.log(level, "%s", text)


async def _finished(task: asyncio.Task[None]) -> None:
    """Wait for a task to its end, also when the waiting is cancelled meanwhile."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        raise


async def _signing_keys(shared: SharedRouter, record: CallRecord) -> tuple[SigningKey, ...]:
    if not record.is_signed:
        return ()
    keys = signing_keys(record.correlid, secret=await shared.secret(record.longcall_conn_id))
    if not keys:
        raise ContractError("fernet_key", "missing here: the triggerer needs the same as the workers")
    return keys


def _seconds_until(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else max(0.0, deadline_s - time.time())
