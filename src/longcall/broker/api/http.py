"""The API over HTTP, with JSON: the very methods that gRPC calls. An ASGI application.

Rests on the comments of `google/api/http.proto` and on https://google.aip.dev/193 for errors.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from longcall.broker.api.methods import Method, Methods, not_here
from longcall.broker.api.routes import make_router
from longcall.broker.api.routing import MethodNotAllowed
from longcall.broker.api.transcoding import Query, decode_request
from longcall.broker.errors import BrokerError, InvalidArgument, StoreError, Unavailable

__all__ = ["HttpApi"]

log = logging.getLogger(__name__)

_MAX_BODY_BYTES: Final = 10_485_760
_STATUSES: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_CLOSE: Final = {"connection": "close"}


class _TooLarge(InvalidArgument):
    """The body is larger than any request may be; what is left of it is not kept.

    Attributes:
        is_held_back: whether the client waits to be told to send it.
    """

    def __init__(self, headers: Headers) -> None:
        super().__init__(f"Request payload size exceeds the limit: {_MAX_BODY_BYTES} bytes.")
        self.is_held_back = "expect" in headers


class _TooSlow(BrokerError):
    """The body has not come within the time for it."""

    code = "DEADLINE_EXCEEDED"


class _OtherSite(BrokerError):
    """A web page of another site has sent the request."""

    code = "PERMISSION_DENIED"


class HttpApi:
    """The ASGI application. For one event loop."""

    def __init__(
        self, services: Mapping[str, Methods], *, reset: Callable[[], Awaitable[None]], body_timeout_s: float
    ) -> None:
        """Serve methods.

        Args:
            services: the unary methods of each service, by the full name of the service.
            reset: drops everything that the broker has.
            body_timeout_s: how long a client may take to send a request's body.
        """
        self._services = services
        self._reset = reset
        self._body_timeout_s = body_timeout_s
        self._router = make_router()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except BrokerError as error:
            response = _refusal(error)
        except StoreError as error:
            response = _refusal(Unavailable(str(error)))
        except Exception:
            log.exception("A request failed")
            response = _refusal(BrokerError("The broker failed; its log says why."))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        _check_origin(request.headers)
        body = await self._read(request)
        path = request.scope["raw_path"].decode("ascii")
        match request.method, path:
            case "GET", "/":
                return PlainTextResponse("Ok\n")
            case "POST", "/reset":
                await self._reset()
                log.info("Reset: everything is dropped")
                return PlainTextResponse("Resetting...\n")
        found = self._router.find(request.method, path)
        service, name = found.binding.service, found.binding.method
        if name not in self._services.get(service, {}):
            raise not_here(service, name)
        method, kind = self._services[service][name]
        query = Query.decode(request.scope["query_string"].decode("ascii"))
        message = decode_request(kind, found, query.fields, body)
        return _answer_with(await _call(method, message, request), query)

    async def _read(self, request: Request) -> bytes:
        """Return the body, or refuse it as soon as it is known to be too large."""
        body = bytearray()
        if int(request.headers.get("content-length", "0")) > _MAX_BODY_BYTES:
            raise _TooLarge(request.headers)
        try:
            async with asyncio.timeout(self._body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > _MAX_BODY_BYTES:
                        raise _TooLarge(request.headers)
        except TimeoutError as error:
            raise _TooSlow(f"The request's body was not sent within {self._body_timeout_s:g} s.") from error
        return bytes(body)


class _Call:
    """The `Context` of an HTTP request."""

    def __init__(self, headers: Headers) -> None:
        self._end_s: float | None = None
        try:
            timeout_s = float(headers.get("x-server-timeout", "inf"))
        except ValueError as error:
            raise InvalidArgument("The header X-Server-Timeout is no number of seconds.") from error
        if math.isfinite(timeout_s):
            self._end_s = asyncio.get_running_loop().time() + timeout_s

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller gives up; None: it has not said."""
        if self._end_s is None:
            return None
        return max(0.0, self._end_s - asyncio.get_running_loop().time())


def _check_origin(headers: Headers) -> None:
    """Return unless the request comes from a page of another site: there is no authentication.

    Raises:
        _OtherSite: it does.
    """
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        raise _OtherSite("Web pages of other sites may not use this broker.")


async def _call(method: Method, message: Any, request: Request) -> Any:
    """Call a method, for as long as the client is there.

    Raises:
        ClientDisconnect: it has gone.
    """
    work = asyncio.ensure_future(method(message, _Call(request.headers)))
    gone = asyncio.create_task(_wait_until_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.wait({work, gone})


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer_with(message: Any, query: Query) -> Response:
    answer = json_format.MessageToDict(message, use_integers_for_enums=query.enums_as_numbers)
    return _json(answer, 200, pretty=query.pretty)


def _refusal(error: BrokerError) -> Response:
    """Return an error as Google's services send it."""
    status, headers = _STATUSES.get(error.code, 500), {}
    match error:
        case MethodNotAllowed():
            status, headers = 405, {"allow": ", ".join(error.allowed)}
        case _TooSlow():
            status, headers = 408, _CLOSE
        case _TooLarge(is_held_back=True):
            headers = _CLOSE
    body: dict[str, object] = {"code": status, "message": str(error), "status": error.code}
    if error.details:
        body["details"] = [_packed(detail) for detail in error.details]
    return _json({"error": body}, status, headers=headers)


def _packed(detail: Any) -> Any:
    packed = AnyMessage()
    packed.Pack(detail)
    return json_format.MessageToDict(packed)


def _json(
    content: object, status: int, *, pretty: bool = False, headers: Mapping[str, str] | None = None
) -> Response:
    text = json.dumps(content, ensure_ascii=False, indent=2 if pretty else None)
    return Response(text + "\n", status, headers, "application/json; charset=UTF-8")
