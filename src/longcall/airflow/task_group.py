"""The same call as four tasks that one can see in the graph, with clean-up as a teardown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments, take_arguments
from longcall.airflow.blocking import wait_in_worker
from longcall.airflow.cleanup import abandon, check_still_wanted, delete_inbox, give_up, undo_start
from longcall.airflow.connections import find_longcall_connection
from longcall.airflow.errors import airflow_errors
from longcall.airflow.identity import TaskTry
from longcall.airflow.killing import KILL_PATIENCE_S, KillGuard
from longcall.airflow.link import CallLink
from longcall.airflow.record import CallRecord, ServicePath
from longcall.airflow.settings import settle_service
from longcall.airflow.steps import (
    check_start,
    completion_trigger,
    finish,
    forget_cleared,
    prepare,
    remember,
    start,
)
from longcall.airflow.trigger import EventStatus
from longcall.airflow.version_compat import BaseOperator, Context, TaskGroup, XComArg
from longcall.contract import JsonValue

__all__ = [
    "CreateInboxOperator",
    "DeleteInboxOperator",
    "LongCallTaskGroup",
    "StartCallOperator",
    "WaitForCompletionOperator",
]


_PARTS: Final = (InboxArguments, StartArguments, ResultArguments)


class CreateInboxOperator(InboxArguments):
    """Step 1: mint the correlation id and create the inbox. Returns the call, for the later steps.

    Args:
        waits: id of the task that will wait for the call, for sweeps to go by; None: they leave it alone.
        http_conn_id: as of step 2, and
        endpoint: too: where a sweep looks for the call. Without `waits` there is none, and no default.
    """

    template_fields: Sequence[str] = (*InboxArguments.template_fields, "http_conn_id", "endpoint")

    def __init__(
        self,
        *,
        waits: str | None = None,
        http_conn_id: str | None = None,
        endpoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.waits = waits
        self.http_conn_id = http_conn_id
        self.endpoint = endpoint

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Return the call as JSON."""
        with airflow_errors():
            service = ServicePath.of(self._http_conn_id(), self.endpoint)
            return prepare(self._inbox_choice(), context, service=service, waits=self.waits or "").to_json()

    def _http_conn_id(self) -> str:
        """Return the connection that step 2 will use; empty: not known."""
        if not (self.waits or self.http_conn_id or self.longcall_conn_id):
            return ""
        connection = find_longcall_connection(self.longcall_conn_id)
        return settle_service(
            http_conn_id=self.http_conn_id, signing=None, connection=connection
        ).http_conn_id


class StartCallOperator(StartArguments):
    """Step 2: send the one quick request. A retry sends the same id, so the work starts once."""

    template_fields: Sequence[str] = ("call", *StartArguments.template_fields)

    def __init__(self, *, call: XComArg | dict[str, JsonValue], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call = call
        self._kills = KillGuard()

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Return the call, which now knows its status resource."""
        with airflow_errors():
            record = CallRecord.from_json(self.call)
            request = self._start_request(
                context, timeout=self.timeout, longcall_conn_id=record.longcall_conn_id
            )
            record = record.aimed(request.service)
            try:
                with self._kills:
                    record, started = start(record, request, context)
                    check_start(record, started, request)
                    check_still_wanted(context)
            except BaseException as error:
                undo_start(record, error, is_last=TaskTry.of(context).is_last, keep_inbox=True)
                raise
            return record.to_json()

    def on_kill(self) -> None:
        """End the task, which cancels the call on the way out."""
        self._kills.kill()


class WaitForCompletionOperator(ResultArguments):
    """Step 3: wait for the completion of a call that an earlier task started.

    Args:
        call: the output of the step that started it. Nobody else may wait in the call's inbox.
    """

    template_fields: Sequence[str] = ("call", *ResultArguments.template_fields)
    operator_extra_links = (CallLink(),)

    def __init__(self, *, call: XComArg | dict[str, JsonValue], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call = call
        self._kills = KillGuard()

    def execute(self, context: Context) -> JsonValue:
        """Defer, or wait here."""
        with airflow_errors():
            record = CallRecord.from_json(self.call)
            forget_cleared(context)
            remember(record, context)
            check_still_wanted(context)
        trigger = completion_trigger(record, keep_inbox=True)
        if self.deferrable:
            self.defer(trigger=trigger, method_name="execute_complete")
        with airflow_errors():
            try:
                with self._kills:
                    event = wait_in_worker(trigger)
            except BaseException:
                give_up(record, patience_s=KILL_PATIENCE_S, keep_inbox=True)
                raise
        return self.execute_complete(context, event)

    def on_kill(self) -> None:
        """End the wait in the worker, which cancels the call; when it is deferred, the trigger does it."""
        self._kills.kill()

    def execute_complete(self, context: Context, event: Mapping[str, JsonValue]) -> JsonValue:
        """Return the result, or raise what the service reported."""
        with airflow_errors():
            record = CallRecord.from_json(self.call)
            if event.get("status") != EventStatus.COMPLETED and not event.get("given_up"):
                abandon(record)
            result = finish(event, record, context, self._result_access(), keep_inbox=True)
            return self._handled(result, context)


class DeleteInboxOperator(BaseOperator):
    """Step 4: delete the inbox, cancel what still works. Made a teardown, it runs however the others ended.

    Args:
        call: the output of step 1.
        started: the output of step 2; None: it has none, and the call is looked for.
    """

    template_fields: Sequence[str] = ("call", "started")

    def __init__(
        self,
        *,
        call: XComArg | dict[str, JsonValue],
        started: XComArg | dict[str, JsonValue] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.call = call
        self.started = started

    def execute(self, context: Context) -> None:
        """Cancel and delete; a repeat does nothing."""
        with airflow_errors():
            give_up(CallRecord.from_json(self.started or self.call), keep_inbox=True)
            delete_inbox(CallRecord.from_json(self.call))


class LongCallTaskGroup(TaskGroup):
    """`create_subscription >> start_call >> wait_for_completion >> delete_subscription`.

    Arguments as `LongCallOperator`'s; the others are those of any task group. `output` is the result, for
    later tasks.
    """

    def __init__(self, group_id: str, **kwargs: Any) -> None:
        inbox, request, result = (take_arguments(part, kwargs) for part in _PARTS)
        super().__init__(group_id=group_id, **kwargs)
        with self:
            create = CreateInboxOperator(
                task_id="create_subscription",
                waits=self.child_id("wait_for_completion"),  # type: ignore[no-untyped-call] # has no hints
                http_conn_id=request.get("http_conn_id"),
                endpoint=request.get("endpoint"),
                **inbox,
            )
            begin = StartCallOperator(task_id="start_call", call=create.output, **request)
            wait = WaitForCompletionOperator(task_id="wait_for_completion", call=begin.output, **result)
            delete = DeleteInboxOperator(
                task_id="delete_subscription", call=create.output, started=begin.output
            )
            # Both are setups: where Airflow clears a task's setups with it, one alone would part the two.
            create >> begin >> wait >> delete.as_teardown(setups=[create, begin])
        self._wait = wait

    @property
    def output(self) -> XComArg:
        """The result of the call, as an argument of a later task."""
        return self._wait.output
