"""The service as seen from Airflow: start a call, cancel a call, through an HTTP connection."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin

from longcall.airflow.errors import LoginFailed
from longcall.client import CallUnreachable, read_start_answer, refusal
from longcall.contract import (
    JSON_TYPE,
    CallRequest,
    CallState,
    CallStatus,
    ContractError,
    JsonValue,
    decode_json,
    encode_json,
    request_headers,
    url_with_correlation_id,
)
from longcall.contract.instants import decode_instant

if TYPE_CHECKING:
    from requests import Response
    from requests.exceptions import RequestException

    from longcall.airflow.logged_in_http import LoggedInHttp

__all__ = ["ListedCall", "RequestNotSent", "ServiceHook", "StartedCall", "encode_arguments"]

_REDIRECTS_TO_GET = (301, 302, 303)
_PAGE_SIZE: Final = 1000
_MAX_PAGES: Final = 100

_TIMEOUT_S = 30.0
"""For one request. The work takes as long as it takes; saying yes to it does not."""


class RequestNotSent(CallUnreachable):
    """There was no connection to the service, or no login: it has therefore started nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedCall:
    """The service has accepted.

    Attributes:
        location: absolute URL of the status resource; empty for a bare service.
        accepted_ms: from the request to its answer.
        status: how the call stands; None: the answer does not say.
        is_signed: the service signs its reports.
        response: the answer itself.
    """

    location: str
    accepted_ms: int
    status: CallStatus | None
    is_signed: bool
    response: Response


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCall:
    """A call in a service's list.

    Attributes:
        correlid: the correlation id.
        location: absolute URL of the status resource.
        caller: who waits, as the request said it; empty: it did not.
        accepted_time: aware.
    """

    correlid: str
    location: str
    caller: str
    accepted_time: datetime


class ServiceHook:
    """Starts and cancels calls over one HTTP connection. Synchronous; a trigger uses it in a thread."""

    def __init__(self, http_conn_id: str) -> None:
        self._http_conn_id = http_conn_id

    def start(
        self, request: CallRequest, *, method: str, endpoint: str | None, headers: Mapping[str, str] | None
    ) -> StartedCall:
        """Send the one quick request that starts the work. A repeat with the same id is the same call.

        Raises:
            CallUnreachable: no answer; perhaps started. Retryable, with the same id.
            CallRefused: the service answered 4xx or 5xx.
            ContractError: the connection has no usable URL.
        """
        began_s = time.monotonic()
        target = url_with_correlation_id(endpoint or "", request.correlation_id)
        response = self._send(method, target, request.body, {**(headers or {}), **request_headers(request)})
        answer = read_start_answer(
            status=response.status_code,
            headers=response.headers,
            body=response.content,
            url=response.url,
        )
        elapsed_ms = round((time.monotonic() - began_s) * 1000)
        return StartedCall(
            location=answer.location or "",
            accepted_ms=elapsed_ms,
            status=_status_in(response.content, correlation_id=request.correlation_id),
            is_signed=answer.is_signed,
            response=response,
        )

    def status(self, location: str, *, timeout_s: float = _TIMEOUT_S) -> CallStatus | None:
        """Ask how a call stands; None: its status resource lies on another host, which is not asked.

        Raises:
            CallUnreachable: no answer. Retryable.
            CallRefused: the service does not know the call, or does not tell.
            ContractError: the answer is no status.
        """
        path = self._path_of(location)
        if path is None:
            return None
        response = self._send("GET", path, b"", {}, timeout_s=timeout_s)
        if response.status_code != 200:
            raise refusal(status=response.status_code, body=response.content, url=location)
        return CallStatus.from_wire(decode_json(response.content, field="status"))

    def find(self, correlation_id: str, *, endpoint: str, timeout_s: float = _TIMEOUT_S) -> str:
        """Return the status resource of a call whose start was not answered; empty: the service has none.

        Starts nothing: a GET, at the endpoint of the start.

        Raises:
            CallUnreachable: no answer. Retryable.
            CallRefused: the service does not know the call (404), or does not tell.
        """
        target = url_with_correlation_id(endpoint, correlation_id)
        response = self._send("GET", target, b"", {}, timeout_s=timeout_s)
        answer = read_start_answer(
            status=response.status_code,
            headers=response.headers,
            body=response.content,
            url=response.url,
        )
        known = _status_in(response.content, correlation_id=correlation_id)
        return answer.location or "" if known is not None else ""

    def open_calls(self) -> Iterator[ListedCall]:
        """Yield the calls that have not ended, in the service's own list (`GET /calls`): 200,000 at most.

        One that begins meanwhile may be missing, and one may come twice.

        Raises:
            CallUnreachable: no answer. Retryable.
            CallRefused: the service has no such list, or does not show it.
            ContractError: the answer is no list.
        """
        for state in (CallState.ACCEPTED, CallState.RUNNING):
            query = {"state": str(state), "page_size": str(_PAGE_SIZE)}
            for _ in range(_MAX_PAGES):
                response = self._send("GET", f"/calls?{urlencode(query)}", b"", {})
                if response.status_code != 200:
                    raise refusal(status=response.status_code, body=response.content, url=response.url)
                found, token = _listed(response.content, url=response.url)
                yield from found
                if not token:
                    break
                query["page_token"] = token

    def cancel(self, location: str, *, timeout_s: float = _TIMEOUT_S) -> bool:
        """Ask the service to stop the work; tell whether it took the request. A repeat is harmless.

        A call whose status resource is unknown, or lies on another host than the connection's (which
        must not be sent its credentials), cannot be cancelled: False.

        Raises:
            CallUnreachable: no answer. Retryable.
            CallRefused: the service answered 5xx.
        """
        path = self._path_of(location)
        if path is None:
            return False
        response = self._send("DELETE", path, b"", {}, timeout_s=timeout_s)
        if response.status_code >= 500:
            raise refusal(status=response.status_code, body=response.content, url=location)
        return response.status_code < 300

    def absolute(self, location: str) -> str:
        """Return the URL of a status resource that is given as a path below the connection's URL."""
        if not location.startswith("/"):
            return location
        return self._base_url() + location

    def ask(self, path: str, *, timeout_s: float = _TIMEOUT_S) -> int:
        """Return the HTTP status that the service answers to a GET.

        Raises:
            CallUnreachable: no answer; its cause is what `requests` says.
            LoginFailed: there is no login, and there will be none.
            ContractError: the connection cannot be used.
        """
        return self._send("GET", path, b"", {}, timeout_s=timeout_s).status_code

    def _path_of(self, location: str) -> str | None:
        """Return what comes after the connection's URL; None: it is another's, not to be sent credentials."""
        base = self._base_url()
        return location.removeprefix(base) if location.startswith(base + "/") else None

    def _base_url(self) -> str:
        hook = self._hook("GET")
        if not hook.url_from_endpoint(""):
            hook.get_conn()  # before version 6 of the provider, it is this that looks the connection up
        return hook.url_from_endpoint("").rstrip("/")

    def _send(
        self,
        method: str,
        endpoint: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float = _TIMEOUT_S,
    ) -> Response:
        from requests.exceptions import RequestException

        hook = self._hook(method)
        options: dict[str, object] = {"check_response": False}
        if "timeout" not in hook.get_connection(self._http_conn_id).extra_dejson:
            options["timeout"] = timeout_s
        try:
            response: Response = hook.run(
                endpoint=endpoint,
                data=body or None,  # type: ignore[arg-type] # requests takes bytes; the hook's hint forgot
                headers=dict(headers),
                extra_options=options,
            )
        except LoginFailed as error:
            if not error.retryable:
                raise
            raise RequestNotSent(str(error), url=endpoint) from error
        except ValueError as error:  # requests' words for a bad URL, scheme or header are ValueErrors too
            raise ContractError(
                "http_conn_id",
                f"{self._http_conn_id!r} and endpoint {endpoint!r} make no usable request: {error}",
            ) from error
        except RequestException as error:
            kind = CallUnreachable if _may_have_been_sent(error) else RequestNotSent
            raise kind(
                f"no answer from the service behind http_conn_id {self._http_conn_id!r} "
                f"at {endpoint!r}: {error}",
                url=endpoint,
            ) from error
        if method != "GET" and any(passed.status_code in _REDIRECTS_TO_GET for passed in response.history):
            raise ContractError(
                "endpoint", f"{endpoint!r} redirects, which turns {method} to GET: name {response.url} itself"
            )
        return response

    def _hook(self, method: str) -> LoggedInHttp:
        # Not at the top: its HTTP clients take longer to import than all else, and no DAG file needs them.
        from longcall.airflow.logged_in_http import LoggedInHttp

        return LoggedInHttp(method=method, http_conn_id=self._http_conn_id)


def _may_have_been_sent(error: RequestException) -> bool:
    """Tell whether the service may have seen the request; without a connection it has not."""
    from requests.exceptions import ConnectTimeout
    from urllib3.exceptions import NewConnectionError

    reason = getattr(error.args[0], "reason", None) if error.args else None
    return not isinstance(error, ConnectTimeout) and not isinstance(reason, NewConnectionError)


def _listed(body: bytes, *, url: str) -> tuple[list[ListedCall], str]:
    """Return the calls of a page, and what the next is asked for with; empty: it is the last."""
    page: Any = decode_json(body, field="calls")
    try:
        assert isinstance(page, Mapping)  # one error for every way to be wrong
        calls = [
            ListedCall(
                correlid=str(call["correlid"]),
                location=urljoin(url, str(call["location"])),
                caller=str(call.get("caller", "")),
                accepted_time=decode_instant(call["accepted_time"], field="accepted_time"),
            )
            for call in page["calls"]
        ]
        return calls, str(page.get("next_page_token", ""))
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        raise ContractError("calls", f"the service's list is none: {error!r}") from error


def _status_in(body: bytes, *, correlation_id: str) -> CallStatus | None:
    """Read the status that a service may answer a start with; another body is no matter."""
    try:
        status = CallStatus.from_wire(decode_json(body, field="status"))
    except ContractError:
        return None
    return status if status.correlation_id == correlation_id else None


def encode_arguments(data: JsonValue | bytes, headers: Mapping[str, str] | None) -> tuple[bytes, str]:
    """Return the body and its content type for the operator's `data`.

    None is no body. Text and bytes go as they are: with the `Content-Type` among `headers` if there is
    one, else as JSON if they are JSON, else as plain text. Anything else becomes JSON.

    Raises:
        ContractError: `data` is not JSON.
    """
    declared = next((v for k, v in (headers or {}).items() if k.lower() == "content-type"), "")
    if data is None:
        return b"", ""
    if not isinstance(data, str | bytes):
        return encode_json(data, field="data"), declared or JSON_TYPE
    body = data.encode() if isinstance(data, str) else data
    if declared:
        return body, declared
    try:
        decode_json(body, field="data")
    except ContractError:
        return body, "text/plain; charset=utf-8"
    return body, JSON_TYPE
