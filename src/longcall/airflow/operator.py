"""`LongCallOperator`: call a long-running service in one task, holding no worker while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from longcall.airflow.errors import airflow_errors
from longcall.airflow.identity import TaskTry
from longcall.airflow.link import CallLink
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.steps import (
    InboxChoice,
    StartRequest,
    abandon,
    completion_trigger,
    drop_inbox,
    finish,
    forget_cleared,
    look,
    prepare,
    remember,
    start,
    take,
)
from longcall.airflow.trigger import EventStatus
from longcall.airflow.version_compat import BaseOperator, Context
from longcall.client import CallCancelled
from longcall.contract import JsonValue, Succeeded

__all__ = ["LongCallOperator"]


class LongCallOperator(BaseOperator):
    """Start work in a service, let go of the worker, and return the result when it is published.

    Mints a correlation id, creates the inbox, sends one quick request, defers. The triggerer waits on
    one connection that all calls share. The result becomes the task's `return_value`.

    The task fails at once (`AirflowFailException`) where a retry cannot help: bad arguments, a missing
    topic, a refusal (4xx), or a failure that the service calls not retryable. Otherwise its `retries`
    apply. A try that comes after a worker was lost goes on with the call that runs or has ended; one that
    comes after the service reported failure, or after a clear, starts afresh. Killing, clearing or timing
    out the task cancels the work.

    Args:
        topic: Pub/Sub topic where the service publishes, as an id or a full path.
        endpoint: path of the service below the connection's URL.
        http_conn_id: HTTP connection to the service.
        method: HTTP method of the request.
        data: the arguments. A JSON value is sent as JSON; text as it is.
        headers: additional request headers.
        gcp_conn_id: Google connection for Pub/Sub; not looked up while `PUBSUB_EMULATOR_HOST` is set.
        project_id: project of the topic; default: the Google connection's.
        inbox_policy: `per_call`: a subscription for this call alone; `shared`: one lasting subscription
            for many calls.
        inbox: name of the shared inbox, unique to this deployment.
        timeout: how long to wait for the completion; default: `execution_timeout`, which Airflow itself
            does not apply to a deferred task in every version.
        heartbeat_timeout: how long to go without a sign of life of the call; then its service is asked, the
            call is cancelled, and the task's retries apply. None: as long as it takes. Services of this
            package send a heartbeat every 30 seconds.
        signing: `auto`: reports of a service that says it signs them must be signed; `required`: a service
            that does not is not called; `off`: any report is taken.
    """

    template_fields: Sequence[str] = (
        "topic",
        "endpoint",
        "http_conn_id",
        "method",
        "data",
        "headers",
        "gcp_conn_id",
        "project_id",
        "inbox_policy",
        "inbox",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json", "headers": "json"}
    ui_color = "#d5e8f7"
    operator_extra_links = (CallLink(),)

    def __init__(
        self,
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
        super().__init__(**kwargs)
        self.topic = topic
        self.endpoint = endpoint
        self.http_conn_id = http_conn_id
        self.method = method
        self.data = data
        self.headers = headers
        self.gcp_conn_id = gcp_conn_id
        self.project_id = project_id
        self.inbox_policy = inbox_policy
        self.inbox = inbox
        self.timeout = timeout
        self.heartbeat_timeout = heartbeat_timeout
        self.signing = signing
        self._record: CallRecord | None = None

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
            if event.get("status") != EventStatus.COMPLETED:
                abandon(record)
            try:
                return finish(event, context)
            except CallCancelled:
                if record.number >= TaskTry.of(context).tries:
                    raise
                self.log.info("Call %s was being cancelled for an earlier try", record.correlid)
                return self._call(context, number=record.number + 1)

    def _call(self, context: Context, *, number: int) -> JsonValue:
        """Start the first call from `number` on that has not failed in an earlier try, and wait for it."""
        tries = TaskTry.of(context).tries
        while True:
            record = self._record = prepare(self._inbox_choice(), context, number=number)
            remember(record, context)
            try:
                record, status = start(record, self._start_request())
            except BaseException:
                abandon(record)
                raise
            self._record = record
            completion = status.completion if status is not None else None
            if number >= tries or completion is None or isinstance(completion, Succeeded):
                break
            self.log.info("Call %s of an earlier try ended without a result", record.correlid)
            drop_inbox(record)
            number += 1
        remember(record, context)
        completion = completion or look(record)
        if completion is None:
            self.defer(trigger=completion_trigger(record), method_name="execute_complete")
        return take(record, completion)

    def on_kill(self) -> None:
        """Cancel the call when the task is killed in the worker; deferred, the trigger does it."""
        if self._record is not None:
            abandon(self._record)

    def _inbox_choice(self) -> InboxChoice:
        return InboxChoice(
            topic=self.topic,
            project_id=self.project_id,
            gcp_conn_id=self.gcp_conn_id,
            inbox_policy=self.inbox_policy,
            inbox=self.inbox,
        )

    def _start_request(self) -> StartRequest:
        return StartRequest(
            http_conn_id=self.http_conn_id,
            endpoint=self.endpoint,
            method=self.method,
            data=self.data,
            headers=self.headers,
            timeout=self.timeout or self.execution_timeout,
            heartbeat_timeout=self.heartbeat_timeout,
            signing=self.signing,
        )
