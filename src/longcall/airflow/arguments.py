"""What the author of a DAG says of a call, declared once for every face: operator, steps, group, decorator.

Each class here is a part of an operator's constructor. It keeps its arguments as attributes, where Airflow
renders and serialises them, and returns them as one frozen value when the task runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from longcall.airflow.version_compat import BaseOperator
from longcall.client import CallAddress, PerCallInbox, SharedInbox
from longcall.contract import ContractError, JsonValue, resource_path

__all__ = ["InboxArguments", "InboxChoice", "StartArguments", "StartRequest", "take_arguments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxChoice:
    """Where the answer shall arrive.

    Attributes:
        topic: where the service publishes, as a path or an id.
        project_id: None: the connection's or the environment's.
        gcp_conn_id: the Google connection.
        inbox_policy: `per_call` or `shared`.
        inbox: name of the shared inbox.
    """

    topic: str
    project_id: str | None
    gcp_conn_id: str
    inbox_policy: str
    inbox: str | None

    def address(self, *, project: str, labels: Mapping[str, str], token: str) -> CallAddress:
        """Make the correlation id of a token and say which inbox it belongs to.

        Raises:
            ContractError: the topic, the policy or the shared inbox's name cannot be used.
        """
        topic = resource_path(self.topic, project=project, collection="topics", field="topic")
        match self.inbox_policy, self.inbox:
            case "per_call", None:
                return PerCallInbox(topic=topic, labels=labels).new_call(token)
            case "shared", str(name):
                return SharedInbox(topic=topic, name=name, labels={}).new_call(token)
            case "shared", None:
                raise ContractError(
                    "inbox", "inbox_policy='shared' needs a name that is unique to this deployment"
                )
            case "per_call", _:
                raise ContractError("inbox", "only inbox_policy='shared' takes a name")
            case policy, _:
                raise ContractError("inbox_policy", f"{policy!r} is neither 'per_call' nor 'shared'")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """The request that starts the work.

    Attributes:
        http_conn_id: the HTTP connection to the service.
        endpoint: path below the connection's URL.
        method: usually POST.
        data: JSON, text or bytes; None: no body.
        headers: beside the contract's own, which win.
        timeout: how long to wait for the completion; None: as long as it takes.
        heartbeat_timeout: how long to go without a sign of life; None: as long as it takes.
        signing: `auto`, `required` or `off`.
    """

    http_conn_id: str
    endpoint: str | None
    method: str
    data: JsonValue | bytes
    headers: Mapping[str, str] | None
    timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    signing: str


class InboxArguments(BaseOperator):
    """The part of an operator that makes an inbox.

    Args:
        topic: Pub/Sub topic where the service publishes, as an id or a full path.
        gcp_conn_id: Google connection for Pub/Sub; not looked up while `PUBSUB_EMULATOR_HOST` is set.
        project_id: project of the topic; default: the Google connection's.
        inbox_policy: `per_call`: a subscription for this call alone; `shared`: one lasting subscription
            for many calls.
        inbox: name of the shared inbox, unique to this deployment.
    """

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

    def _inbox_choice(self) -> InboxChoice:
        return InboxChoice(
            topic=self.topic,
            project_id=self.project_id,
            gcp_conn_id=self.gcp_conn_id,
            inbox_policy=self.inbox_policy,
            inbox=self.inbox,
        )


class StartArguments(BaseOperator):
    """The part of an operator that sends the request.

    Args:
        endpoint: path of the service below the connection's URL.
        http_conn_id: HTTP connection to the service.
        method: HTTP method of the request.
        data: the arguments. A JSON value is sent as JSON; text as it is.
        headers: additional request headers.
        timeout: how long to wait for the completion. `LongCallOperator`'s default is its `execution_timeout`,
            which Airflow itself does not apply to a deferred task in every version.
        heartbeat_timeout: how long to go without a sign of life of the call; then its service is asked, the
            call is cancelled, and the task's retries apply. None: as long as it takes. Services of this
            package send a heartbeat every 30 seconds.
        signing: `auto`: reports of a service that says it signs them must be signed; `required`: a service
            that does not is not called; `off`: any report is taken.
    """

    template_fields: Sequence[str] = ("endpoint", "http_conn_id", "method", "data", "headers")
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json", "headers": "json"}

    def __init__(
        self,
        *,
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
        self.endpoint = endpoint
        self.http_conn_id = http_conn_id
        self.method = method
        self.data = data
        self.headers = headers
        self.timeout = timeout
        self.heartbeat_timeout = heartbeat_timeout
        self.signing = signing

    def _start_request(self, *, timeout: timedelta | None) -> StartRequest:
        return StartRequest(
            http_conn_id=self.http_conn_id,
            endpoint=self.endpoint,
            method=self.method,
            data=self.data,
            headers=self.headers,
            timeout=timeout,
            heartbeat_timeout=self.heartbeat_timeout,
            signing=self.signing,
        )


def take_arguments(part: type[BaseOperator], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Remove from `kwargs` what the part's constructor itself names, and return it."""
    named = inspect.signature(part.__init__).parameters.values()
    own = [parameter.name for parameter in named if parameter.kind is parameter.KEYWORD_ONLY]
    return {name: kwargs.pop(name) for name in own if name in kwargs}
