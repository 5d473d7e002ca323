"""The service's HTTP face: start, status, cancel, list. Errors are problem details (RFC 9457).

`POST {path}?correlid={id}` answers 202 with the `Location` of the status resource,
`GET` it tells how the call stands, `DELETE` asks for its cancellation. Who did not get
that answer asks `GET {path}?correlid={id}`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from longcall._core.clock import Clock
from longcall.contract import (
    JSON_TYPE,
    PROBLEM_TYPE,
    CallStatus,
    ContractError,
    MalformedRequest,
    Problem,
    decode_request,
    resource_path,
)
from longcall.service.arguments import ArgumentError, InvalidArguments
from longcall.service.auth import Verifier
from longcall.service.auth.middleware import Authentication
from longcall.service.calls import Calls
from longcall.service.config import ServiceConfig
from longcall.service.errors import CallConflict, ServiceConfigError, ServiceUnavailable, UnknownCall
from longcall.service.handlers import HandlerSpec
from longcall.service.listing import decode_after, decode_page, encode_list, encode_log
from longcall.service.metrics import metrics_routes
from longcall.service.observer import Observer
from longcall.service.page import page_routes
from longcall.service.request_counts import CountRequests
from longcall.service.running import Running
from longcall.service.store import StoredCall

__all__ = ["make_app"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_RETRY_AFTER_S = 5
_STATUSES: Mapping[type[Exception], tuple[int, str]] = {
    MalformedRequest: (400, "Malformed request"),
    ContractError: (422, "Not acceptable"),
    InvalidArguments: (422, "Bad arguments"),
    UnknownCall: (404, "Unknown call"),
    CallConflict: (422, "The correlation id is taken"),
    ServiceUnavailable: (503, "Not now"),
    ServiceConfigError: (500, "Not started"),
}


def make_app(
    handlers: Mapping[str, HandlerSpec],
    *,
    config: ServiceConfig,
    running: Callable[[], AbstractAsyncContextManager[Running]],
    verifier: Verifier | None,
    observer: Observer,
    name: str,
    clock: Clock,
) -> Starlette:
    """Return the ASGI application.

    Args:
        handlers: by path.
        config: the limits.
        running: entered when the application starts and left when it stops.
        verifier: judges who may call; None: everybody may.
        observer: is told of each request.
        name: of the service, for the page.
        clock: the clocks to go by.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running() as app.state.running:
            yield

    routes: list[BaseRoute] = []
    if config.answers:
        routes += [
            Route(path, _handler(spec, config), methods=["GET", "POST"]) for path, spec in handlers.items()
        ]
    if config.answers and config.page:
        routes += page_routes(_calls, service=name, handlers=list(handlers), clock=clock)
    if config.answers:
        routes += _CALLS
    routes += [
        Route("/health", _health, methods=["GET"]),
        Route("/ready", _ready, methods=["GET"]),
        *metrics_routes(observer, lambda request: _calls(request).levels),
    ]
    middleware = [Middleware(CountRequests, observer=observer, routes=routes)]
    if verifier is not None:
        middleware.append(Middleware(Authentication, verifier=verifier, open_paths=config.auth.open_paths))
    answers = dict.fromkeys(_STATUSES, _answer_error) | {
        HTTPException: _answer_http_error,
        Exception: _answer_crash,
    }
    return Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers=answers,  # type: ignore[arg-type] # handlers by kind
    )


def _handler(spec: HandlerSpec, config: ServiceConfig) -> Endpoint:
    start, find = _start(spec, config), _find(spec)

    async def handle(request: Request) -> Response:
        return await (start if request.method == "POST" else find)(request)

    return handle


def _start(spec: HandlerSpec, config: ServiceConfig) -> Endpoint:
    async def start(request: Request) -> Response:
        body = await _read_body(request, config.max_body_bytes)
        call_request = decode_request(request.query_params, request.headers, body)
        try:
            if call_request.reply_topic:
                _check_reply_topic(call_request.reply_topic, config)
            spec.arguments.bind(body, call_request.content_type)
        except (ContractError, InvalidArguments):
            # A repeat of what was taken on before the service became stricter is that call.
            if not await _calls(request).knows(call_request, path=spec.path):
                raise
        call = await _calls(request).accept(call_request, path=spec.path)
        headers = _location(request, call) | ({"Longcall-Signed": "v1"} if call_request.signing_keys else {})
        return _status_answer(call.status, code=200 if call.status.state.is_final else 202, headers=headers)

    return start


def _find(spec: HandlerSpec) -> Endpoint:
    async def find(request: Request) -> Response:
        if "correlid" not in request.query_params:
            raise HTTPException(405, "POST starts a call", headers={"Allow": "GET, HEAD, POST"})
        wanted = decode_request(request.query_params, request.headers, b"")
        call = await _calls(request).get(wanted.correlation_id)
        if call.handler != spec.path:
            raise UnknownCall("no call of this id was started here")
        return _status_answer(call.status, code=200, headers=_location(request, call))

    return find


def _location(request: Request, call: StoredCall) -> dict[str, str]:
    name = quote(call.status.correlation_id, safe="")
    return {"Location": f"{request.scope.get('root_path', '')}/calls/{name}"}


async def _status(request: Request) -> Response:
    return _status_answer(await _calls(request).status(request.path_params["id"]), code=200)


async def _list(request: Request) -> Response:
    page = decode_page(request.query_params)
    found = await _calls(request).find(page.wanted, before=page.before, limit=page.size)
    root = f"{request.scope.get('root_path', '')}/calls"
    return Response(json.dumps(encode_list(found, page, root=root)), 200, media_type=JSON_TYPE)


async def _log(request: Request) -> Response:
    name = request.path_params["id"]
    raw_path: bytes = request.scope.get("raw_path") or b"/log"
    if raw_path.partition(b"?")[0].endswith(b"/log"):
        lines = await _calls(request).log_of(name, after=decode_after(request.query_params))
        return Response(json.dumps(encode_log(name, lines)), 200, media_type=JSON_TYPE)
    return _status_answer(await _calls(request).status(f"{name}/log"), code=200)  # an id may end so


async def _cancel(request: Request) -> Response:
    status = await _calls(request).cancel(request.path_params["id"])
    return _status_answer(status, code=200 if status.state.is_final else 202)


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _ready(request: Request) -> Response:
    await _calls(request).check_ready()
    return PlainTextResponse("ready")


_CALLS: Final = (
    Route("/calls", _list, methods=["GET"]),
    Route("/calls/{id:path}/log", _log, methods=["GET"]),
    Route("/calls/{id:path}", _status, methods=["GET"]),
    Route("/calls/{id:path}", _cancel, methods=["DELETE"]),
)


def _calls(request: Request) -> Calls:
    running = getattr(request.app.state, "running", None)
    if not isinstance(running, Running):
        raise ServiceConfigError(
            "lifespan",
            "it has not run, for a mounted application's does not by itself: enter "
            "`app.router.lifespan_context(app)` in that of the application around it",
        )
    return running.calls


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise HTTPException(413, f"the body has more than {limit} bytes: pass an address instead")
    except ClientDisconnect as error:
        raise HTTPException(400, "the body ended too early") from error
    return bytes(body)


def _check_reply_topic(topic: str, config: ServiceConfig) -> None:
    path = resource_path(topic, project=None, collection="topics", field="Longcall-Reply-Topic")
    if path != topic or not config.allows_reply_topic(topic):
        raise ContractError(
            "Longcall-Reply-Topic",
            "the service does not publish there by request: allow it with --reply-topic, or leave this out",
        )


def _status_answer(status: CallStatus, *, code: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(status.to_wire()), code, headers, JSON_TYPE)


async def _answer_error(_request: Request, error: Exception) -> Response:
    kind = next(kind for kind in type(error).__mro__ if kind in _STATUSES)
    status, title = _STATUSES[kind]
    errors = error.errors if isinstance(error, InvalidArguments) else None
    return _problem_answer(status, title, str(error), errors=errors)


async def _answer_http_error(_request: Request, error: HTTPException) -> Response:
    title = "Too large" if error.status_code == 413 else str(error.detail)
    return _problem_answer(error.status_code, title, str(error.detail), headers=error.headers)


async def _answer_crash(_request: Request, _error: Exception) -> Response:
    """Say no more than that: the server logs the error itself, and it may hold what is not the caller's."""
    return _problem_answer(500, "Internal error", "see the service's log")


def _problem_answer(
    status: int,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[ArgumentError] | None = None,
) -> Response:
    problem = Problem(title=title, detail=detail, status=status, retryable=status in {429, 500, 503})
    headers = {**(headers or {}), **({"Retry-After": str(_RETRY_AFTER_S)} if status == 503 else {})}
    # An extension member (RFC 9457 section 3.2), in the form of that section's example.
    wire = {**problem.to_wire(), **({"errors": errors} if errors else {})}
    return Response(json.dumps(wire), status, headers, PROBLEM_TYPE)
