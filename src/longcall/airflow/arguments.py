"""What the author of a DAG says of a call, declared once for every face: operator, steps, group, decorator.

Each class here is a part of an operator's constructor. It keeps its arguments as attributes, where Airflow
renders and serialises them, and returns them as one frozen value when the task runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from urllib.parse import urlencode

from longcall.airflow.connections import find_longcall_connection
from longcall.airflow.record import ServicePath
from longcall.airflow.settings import InboxChoice, settle_service
from longcall.airflow.version_compat import BaseOperator, Context, determine_kwargs
from longcall.client import ResultAccess, StartAttempts
from longcall.contract import ContractError, JsonValue

if TYPE_CHECKING:
    from requests import Response

__all__ = [
    "InboxArguments",
    "ResultArguments",
    "StartArguments",
    "StartRequest",
    "take_arguments",
    "with_context",
]

_FIRST_RETRY_S: Final = 0.5
_Returned = TypeVar("_Returned")


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
        secret: what the keys for its reports are derived from; None: from `fernet_key`.
        query: query parameters; None: those in `endpoint`.
        response_check: told what the service answered; false: the call is not wanted. None: any 2xx will do.
        start_attempts: how often to ask for the start, with the same id.
        start_retry_max: the longest pause between two of them.
    """

    http_conn_id: str
    endpoint: str | None
    method: str
    data: JsonValue | bytes
    headers: Mapping[str, str] | None
    timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    signing: str
    secret: str | None = field(default=None, repr=False)
    query: Mapping[str, object] | None = None
    response_check: Callable[[Response], object] | None = None
    start_attempts: int = 1
    start_retry_max: timedelta = timedelta(0)

    @property
    def target(self) -> str:
        """The endpoint with its query.

        Raises:
            ContractError: the query says what the call itself has to say.
        """
        if not self.query:
            return self.endpoint or ""
        if not isinstance(self.query, Mapping):
            raise ContractError("query", f"{{name: value}} is what it takes, not {self.query!r:.80}")
        if "correlid" in self.query:
            raise ContractError("query", "correlid is the call's own: leave it out")
        path, _, given = (self.endpoint or "").partition("?")
        return f"{path}?{given}{'&' if given else ''}{urlencode(self.query, doseq=True)}"

    def new_attempts(self) -> StartAttempts:
        """Return the count of the attempts of one start.

        Raises:
            ContractError: there is to be none.
        """
        if self.start_attempts < 1:
            raise ContractError("start_attempts", "at least 1")
        longest_s = self.start_retry_max.total_seconds()
        return StartAttempts(
            attempts=self.start_attempts, min_s=min(_FIRST_RETRY_S, longest_s), max_s=longest_s
        )

    @property
    def service(self) -> ServicePath:
        """Where it goes."""
        return ServicePath.of(self.http_conn_id, self.endpoint)


class InboxArguments(BaseOperator):
    """The part of an operator that makes an inbox. What it does not say, the `longcall` connection may say.

    Args:
        topic: Pub/Sub topic where the service publishes, as an id or a full path; not with `per_call_topic`.
        longcall_conn_id: `longcall` connection, which may name all that is here, and service and signing.
        gcp_conn_id: Google connection for Pub/Sub; not looked up while `PUBSUB_EMULATOR_HOST` is set.
        impersonation_chain: service account to use Pub/Sub as, or the list of accounts that leads to it.
        project_id: project of the topic; default: the Google connection's.
        inbox_policy: `per_call` (default): a subscription for this call alone; `shared`: one lasting
            subscription for many calls; `per_call_topic`: a topic for this call, too, named in the request.
        inbox: name of the shared inbox, unique to this deployment.
    """

    template_fields: Sequence[str] = (
        "topic",
        "longcall_conn_id",
        "gcp_conn_id",
        "impersonation_chain",
        "project_id",
        "inbox_policy",
        "inbox",
    )

    def __init__(
        self,
        *,
        topic: str | None = None,
        longcall_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
        inbox_policy: str | None = None,
        inbox: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topic = topic
        self.longcall_conn_id = longcall_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.inbox_policy = inbox_policy
        self.inbox = inbox

    def _inbox_choice(self) -> InboxChoice:
        return InboxChoice(
            topic=self.topic,
            project_id=self.project_id,
            longcall_conn_id=self.longcall_conn_id,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            inbox_policy=self.inbox_policy,
            inbox=self.inbox,
        )


class StartArguments(BaseOperator):
    """The part of an operator that sends the request.

    Args:
        endpoint: path of the service below the connection's URL.
        http_conn_id: HTTP connection to the service; default: the `longcall` connection's, or `http_default`.
        method: HTTP method of the request.
        data: the arguments. A JSON value is sent as JSON; text as it is.
        headers: additional request headers.
        query: query parameters of the request; a list of values gives one for each.
        response_check: called with the answer to the start (a `requests.Response`) and with what it names of
            the task's context; if it returns something false, the call is cancelled and the try fails.
        start_attempts: how often to ask for the start in one try, with the same id, when the service does not
            answer or is busy (408, 425, 429, 5xx).
        start_retry_max: the longest pause in between. Pauses begin with half a second and double; a service
            that names one (`Retry-After`) is given it, unless it is longer: then the task's `retries` apply.
        timeout: how long to wait for the completion. `LongCallOperator`'s default is its `execution_timeout`,
            which Airflow itself does not apply to a deferred task in every version.
        heartbeat_timeout: how long to go without a sign of life of the call; then its service is asked, the
            call is cancelled, and the task's retries apply. None: as long as it takes. Services of this
            package send a heartbeat every 30 seconds.
        signing: `auto` (default): reports of a service that says it signs them must be signed; `required`: a
            service that does not is not called; `off`: any report is taken.
    """

    template_fields: Sequence[str] = ("endpoint", "http_conn_id", "method", "data", "headers", "query")
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json", "headers": "json", "query": "json"}

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        http_conn_id: str | None = None,
        method: str = "POST",
        data: JsonValue | bytes = None,
        headers: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
        response_check: Callable[..., object] | None = None,
        start_attempts: int = 5,
        start_retry_max: timedelta = timedelta(minutes=1),
        timeout: timedelta | None = None,
        heartbeat_timeout: timedelta | None = None,
        signing: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.http_conn_id = http_conn_id
        self.method = method
        self.data = data
        self.headers = headers
        self.query = query
        self.response_check = response_check
        self.start_attempts = start_attempts
        self.start_retry_max = start_retry_max
        self.timeout = timeout
        self.heartbeat_timeout = heartbeat_timeout
        self.signing = signing

    def _start_request(
        self, context: Context, *, timeout: timedelta | None, longcall_conn_id: str | None = None
    ) -> StartRequest:
        service = settle_service(
            http_conn_id=self.http_conn_id,
            signing=self.signing,
            connection=find_longcall_connection(longcall_conn_id),
        )
        return StartRequest(
            http_conn_id=service.http_conn_id,
            endpoint=self.endpoint,
            method=self.method,
            data=self.data,
            headers=self.headers,
            timeout=timeout,
            heartbeat_timeout=self.heartbeat_timeout,
            signing=service.signing,
            secret=service.secret,
            query=self.query,
            response_check=with_context(self.response_check, context),
            start_attempts=self.start_attempts,
            start_retry_max=self.start_retry_max,
        )


class ResultArguments(BaseOperator):
    """The part of an operator that waits for the result and returns it.

    Args:
        deferrable: wait in the triggerer, holding no worker, whatever `[operators] default_deferrable` says.
            False: wait in the worker, which is held for as long; what happens then is the same.
        result_handler: called in the worker with the result and with what it names of the task's context;
            what it returns is the task's result. If it raises, the next try has the same result again.
        result_prefixes: URLs below which the worker fetches a result that the service has put elsewhere, such
            as `gs://bucket/results`. None: nothing is fetched, and such a call fails its task.
        max_result_bytes: a larger result is not fetched.
    """

    template_fields: Sequence[str] = ("result_prefixes",)

    def __init__(
        self,
        *,
        deferrable: bool = True,
        result_handler: Callable[..., JsonValue] | None = None,
        result_prefixes: Sequence[str] = (),
        max_result_bytes: int = 100_000_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.result_handler = result_handler
        self.result_prefixes = result_prefixes
        self.max_result_bytes = max_result_bytes

    def _result_access(self) -> ResultAccess:
        """Return from where the result may be fetched.

        Raises:
            ContractError: a prefix is none.
        """
        prefixes = self.result_prefixes
        listed = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
        return ResultAccess(prefixes=listed, max_bytes=self.max_result_bytes)

    def _handled(self, result: JsonValue, context: Context) -> JsonValue:
        handler = with_context(self.result_handler, context)
        return result if handler is None else handler(result)


def with_context(
    function: Callable[..., _Returned] | None, context: Context
) -> Callable[[object], _Returned] | None:
    """Bind what a function of one argument names of the task's context besides, as Airflow's operators do."""
    if function is None:
        return None

    def bound(value: object) -> _Returned:
        return function(value, **determine_kwargs(function, (value,), context))

    return bound


def take_arguments(part: type[BaseOperator], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Remove from `kwargs` what the part's constructor itself names, and return it."""
    named = inspect.signature(part.__init__).parameters.values()
    own = [parameter.name for parameter in named if parameter.kind is parameter.KEYWORD_ONLY]
    return {name: kwargs.pop(name) for name in own if name in kwargs}
