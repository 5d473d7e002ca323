"""`LongCallOperator`: call a long-running service in one task, holding no worker while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments
from longcall.airflow.blocking import wait_in_worker
from longcall.airflow.cleanup import abandon, check_still_wanted, drop_inbox, undo_start
from longcall.airflow.errors import airflow_errors
from longcall.airflow.identity import TaskTry
from longcall.airflow.killing import KillGuard
from longcall.airflow.link import CallLink
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.steps import (
    check_start,
    completion_trigger,
    finish,
    forget_cleared,
    look,
    prepare,
    remember,
    start,
    take,
)
from longcall.airflow.trigger import EventStatus
from longcall.airflow.version_compat import Context
from longcall.client import CallCancelled
from longcall.contract import Completion, JsonValue, Succeeded

__all__ = ["LongCallOperator"]


class LongCallOperator(InboxArguments, StartArguments, ResultArguments):
    """Start work in a service, let go of the worker, and return the result when it is published.

    Mints a correlation id, creates the inbox, sends one quick request, defers. The triggerer waits on
    one connection that all calls share. The result becomes the task's `return_value`.

    The task fails at once (`AirflowFailException`) where a retry cannot help: bad arguments, a missing
    topic, a refusal (4xx), or a failure that the service calls not retryable. Otherwise its `retries`
    apply. A try that comes after a worker was lost goes on with the call that runs or has ended; one that
    comes after the service reported failure, or after a clear, starts afresh. Killing, clearing or timing
    out the task cancels the work.

    The arguments are those of `InboxArguments`, `StartArguments` and `ResultArguments`.
    """

    template_fields: Sequence[str] = (
        *InboxArguments.template_fields,
        *StartArguments.template_fields,
        *ResultArguments.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = StartArguments.template_fields_renderers
    ui_color = "#d5e8f7"
    operator_extra_links = (CallLink(),)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._record: CallRecord | None = None
        self._kills = KillGuard()

    def execute(self, context: Context) -> JsonValue:
        """Create the inbox, start the work, defer; return at once what is there already."""
        with airflow_errors():
            forget_cleared(context)
            return self._call(context, number=1)

    def execute_complete(self, context: Context, event: Mapping[str, JsonValue]) -> JsonValue:
        """Return the result, or raise what the service reported."""
        with airflow_errors():
            ti = context["ti"]
            call = ti.xcom_pull(task_ids=ti.task_id, key=CALL_XCOM_KEY, map_indexes=ti.map_index)
            record = CallRecord.from_json(call)
            if event.get("status") != EventStatus.COMPLETED and not event.get("given_up"):
                abandon(record)
            try:
                return self._handled(finish(event, record, context, self._result_access()), context)
            except CallCancelled:
                if record.number >= TaskTry.of(context).tries:
                    raise
                self.log.info("Call %s was being cancelled for an earlier try", record.correlid)
                return self._call(context, number=record.number + 1)

    def _call(self, context: Context, *, number: int) -> JsonValue:
        """Start the first call from `number` on that has not failed in an earlier try, and wait for it."""
        event = None
        try:
            with self._kills:
                record, completion = self._start(context, number)
                trigger = completion_trigger(record)
                if completion is None:
                    check_still_wanted(context)
                    event = None if self.deferrable else wait_in_worker(trigger)
        except BaseException as error:
            if self._record is not None:
                undo_start(self._record, error, is_last=TaskTry.of(context).is_last)
            raise
        if completion is not None:
            return self._handled(take(record, completion, context, self._result_access()), context)
        if event is None:
            self.defer(trigger=trigger, method_name="execute_complete")
        return self.execute_complete(context, event)

    def _start(self, context: Context, number: int) -> tuple[CallRecord, Completion | None]:
        tries = TaskTry.of(context).tries
        request = self._start_request(
            context,
            timeout=self.timeout or self.execution_timeout,
            longcall_conn_id=self.longcall_conn_id,
        )
        while True:
            record = self._record = prepare(
                self._inbox_choice(), context, number=number, service=request.service
            )
            remember(record, context)
            record, started = start(record, request, context)
            self._record = record
            check_start(record, started, request)
            completion = started.status.completion if started.status is not None else None
            if number >= tries or completion is None or isinstance(completion, Succeeded):
                break
            self.log.info("Call %s of an earlier try ended without a result", record.correlid)
            drop_inbox(record)
            number += 1
        remember(record, context)
        return record, completion or look(record)

    def on_kill(self) -> None:
        """End the task, which cancels its call on the way out; when it is deferred, the trigger does it."""
        self._kills.kill()
