"""`LongCallOperator`: call a long-running service in one task, holding no worker while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, NoReturn

from longcall.airflow.errors import airflow_errors
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.steps import (
    InboxChoice,
    StartRequest,
    abandon,
    completion_trigger,
    finish,
    prepare,
    remember,
    start,
)
from longcall.airflow.trigger import EventStatus
from longcall.airflow.version_compat import BaseOperator, Context
from longcall.contract import JsonValue

__all__ = ["LongCallOperator"]


class LongCallOperator(BaseOperator):
    """Start work in a service, let go of the worker, and return the result when it is published.

    Mints a correlation id, creates the inbox, sends one quick request, defers. The triggerer waits on
    one connection that all calls share. The result becomes the task's `return_value`.

    The task fails at once (`AirflowFailException`) where a retry cannot help: bad arguments, a missing
    topic, a refusal (4xx), or a failure that the service calls not retryable. Otherwise its `retries`
    apply; each try is a call of its own. Killing, clearing or timing out the task cancels the work.

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
        self._record: CallRecord | None = None

    def execute(self, context: Context) -> NoReturn:
        """Create the inbox, start the work, defer."""
        with airflow_errors():
            self._record = prepare(self._inbox_choice(), context)
            remember(self._record, context)
            try:
                self._record = start(self._record, self._start_request())
            except BaseException:
                abandon(self._record)
                raise
        remember(self._record, context)
        self.defer(
            trigger=completion_trigger(self._record),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: Mapping[str, JsonValue]) -> JsonValue:
        """Return the result, or raise what the service reported."""
        ti = context["ti"]
        with airflow_errors():
            if event.get("status") != EventStatus.COMPLETED:
                call = ti.xcom_pull(task_ids=ti.task_id, key=CALL_XCOM_KEY, map_indexes=ti.map_index)
                abandon(CallRecord.from_json(call))
            return finish(event, context)

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
        )
