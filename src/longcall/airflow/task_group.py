"""The same call as four tasks that one can see in the graph, with clean-up as a teardown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from longcall.airflow.errors import airflow_errors
from longcall.airflow.link import CallLink
from longcall.airflow.record import CallRecord
from longcall.airflow.steps import (
    InboxChoice,
    StartRequest,
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


class CreateInboxOperator(BaseOperator):
    """Step 1: mint the correlation id and create the inbox. Returns the call, for the later steps."""

    template_fields: Sequence[str] = ("topic", "gcp_conn_id", "project_id", "inbox_policy", "inbox")

    def __init__(
        self,
        *,
        topic: str,
        gcp_conn_id: str = "google_cloud_default",
        project_id: str | None = None,
        inbox_policy: str = "per_call",
        inbox: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.gcp_conn_id = gcp_conn_id
        self.project_id = project_id
        self.inbox_policy = inbox_policy
        self.inbox = inbox

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Return the call as JSON."""
        choice = InboxChoice(
            topic=self.topic,
            project_id=self.project_id,
            gcp_conn_id=self.gcp_conn_id,
            inbox_policy=self.inbox_policy,
            inbox=self.inbox,
        )
        with airflow_errors():
            return prepare(choice, context).to_json()


class StartCallOperator(BaseOperator):
    """Step 2: send the one quick request. A retry sends the same id, so the work starts once."""

    template_fields: Sequence[str] = ("call", "endpoint", "http_conn_id", "method", "data", "headers")

    def __init__(
        self,
        *,
        call: XComArg | dict[str, JsonValue],
        endpoint: str | None = None,
        http_conn_id: str = "http_default",
        method: str = "POST",
        data: JsonValue | bytes = None,
        headers: dict[str, str] | None = None,
        timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        signing: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.call = call
        self.endpoint = endpoint
        self.http_conn_id = http_conn_id
        self.method = method
        self.data = data
        self.headers = headers
        self.timeout = timeout
        self.heartbeat_timeout = heartbeat_timeout
        self.signing = signing

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Return the call, which now knows its status resource."""
        request = StartRequest(
            http_conn_id=self.http_conn_id,
            endpoint=self.endpoint,
            method=self.method,
            data=self.data,
            headers=self.headers,
            timeout=self.timeout,
            heartbeat_timeout=self.heartbeat_timeout,
            signing=self.signing,
        )
        with airflow_errors():
            record, _ = start(CallRecord.from_json(self.call), request)
            return record.to_json()


class WaitForCompletionOperator(BaseOperator):
    """Step 3: wait, deferred, for the completion of a call that an earlier task started."""

    template_fields: Sequence[str] = ("call",)
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
            if event.get("status") != EventStatus.COMPLETED:
                abandon(CallRecord.from_json(self.call))
            return finish(event, context)


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

    Arguments as `LongCallOperator`'s. `output` is the result, for later tasks.
    """

    def __init__(
        self,
        group_id: str,
        *,
        topic: str,
        endpoint: str | None = None,
        http_conn_id: str = "http_default",
        method: str = "POST",
        data: JsonValue | bytes = None,
        headers: dict[str, str] | None = None,
        gcp_conn_id: str = "google_cloud_default",
        project_id: str | None = None,
        inbox_policy: str = "per_call",
        inbox: str | None = None,
        timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        signing: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(group_id=group_id, **kwargs)
        with self:
            create = CreateInboxOperator(
                task_id="create_subscription",
                topic=topic,
                gcp_conn_id=gcp_conn_id,
                project_id=project_id,
                inbox_policy=inbox_policy,
                inbox=inbox,
            )
            begin = StartCallOperator(
                task_id="start_call",
                call=create.output,
                endpoint=endpoint,
                http_conn_id=http_conn_id,
                method=method,
                data=data,
                headers=headers,
                timeout=timeout,
                heartbeat_timeout=heartbeat_timeout,
                signing=signing,
            )
            wait = WaitForCompletionOperator(task_id="wait_for_completion", call=begin.output)
            delete = DeleteInboxOperator(task_id="delete_subscription", call=create.output)
            create >> begin >> wait >> delete.as_teardown(setups=create)
        self._wait = wait

    @property
    def output(self) -> XComArg:
        """The result of the call, as an argument of a later task."""
        return self._wait.output
