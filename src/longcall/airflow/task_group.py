"""The same call as four tasks that one can see in the graph, with clean-up as a teardown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments, take_arguments
from longcall.airflow.errors import airflow_errors
from longcall.airflow.link import CallLink
from longcall.airflow.record import CallRecord
from longcall.airflow.steps import (
    abandon,
    completion_trigger,
    delete_inbox,
    finish,
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
    """Step 1: mint the correlation id and create the inbox. Returns the call, for the later steps."""

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Return the call as JSON."""
        with airflow_errors():
            return prepare(self._inbox_choice(), context).to_json()


class StartCallOperator(StartArguments):
    """Step 2: send the one quick request. A retry sends the same id, so the work starts once."""

    template_fields: Sequence[str] = ("call", *StartArguments.template_fields)

    def __init__(self, *, call: XComArg | dict[str, JsonValue], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call = call

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Return the call, which now knows its status resource."""
        with airflow_errors():
            request = self._start_request(context, timeout=self.timeout)
            record, _ = start(CallRecord.from_json(self.call), request, context)
            return record.to_json()


class WaitForCompletionOperator(ResultArguments):
    """Step 3: wait, deferred, for the completion of a call that an earlier task started."""

    template_fields: Sequence[str] = ("call", *ResultArguments.template_fields)
    operator_extra_links = (CallLink(),)

    def __init__(self, *, call: XComArg | dict[str, JsonValue], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call = call

    def execute(self, context: Context) -> NoReturn:
        """Defer."""
        with airflow_errors():
            record = CallRecord.from_json(self.call)
        remember(record, context)
        self.defer(
            trigger=completion_trigger(record, keep_inbox=True),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: Mapping[str, JsonValue]) -> JsonValue:
        """Return the result, or raise what the service reported."""
        with airflow_errors():
            record = CallRecord.from_json(self.call)
            if event.get("status") != EventStatus.COMPLETED:
                abandon(record)
            return self._handled(finish(event, record, context, self._result_access()), context)


class DeleteInboxOperator(BaseOperator):
    """Step 4: delete the inbox. Made a teardown, it runs however the other steps ended."""

    template_fields: Sequence[str] = ("call",)

    def __init__(self, *, call: XComArg | dict[str, JsonValue], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call = call

    def execute(self, context: Context) -> None:
        """Delete; a repeat does nothing."""
        with airflow_errors():
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
            create = CreateInboxOperator(task_id="create_subscription", **inbox)
            begin = StartCallOperator(task_id="start_call", call=create.output, **request)
            wait = WaitForCompletionOperator(task_id="wait_for_completion", call=begin.output, **result)
            delete = DeleteInboxOperator(task_id="delete_subscription", call=create.output)
            create >> begin >> wait >> delete.as_teardown(setups=create)
        self._wait = wait

    @property
    def output(self) -> XComArg:
        """The result of the call, as an argument of a later task."""
        return self._wait.output
