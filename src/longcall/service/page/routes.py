"""The page's paths: the list at `/calls/`, one call at its `Location` for who asks for HTML.

What else a browser needs hangs on queries of these, for an id may be anything that a path could be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from longcall._core.clock import Clock
from longcall.contract import ContractError, Succeeded
from longcall.service.calls import Calls
from longcall.service.errors import ServiceUnavailable, UnknownCall
from longcall.service.listing import decode_page
from longcall.service.page.live import Watchers
from longcall.service.page.rendering import Renderer

__all__ = ["page_routes"]

_HTML: Final = "text/html"
_EVENTS: Final = "text/event-stream"
_ASSETS: Final = {"page.css": "text/css", "page.js": "text/javascript"}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


def page_routes(
    calls: Callable[[Request], Calls], *, service: str, handlers: Sequence[str], clock: Clock
) -> list[BaseRoute]:
    """Return the routes, to stand before those of the API.

    Args:
        calls: finds, for a request, whom to ask.
        service: its name.
        handlers: the paths of its handlers.
        clock: the clocks to go by.
    """
    page = _PageOfCalls(calls, service=service, handlers=handlers, clock=clock)
    return [
        Route("/calls/", page.list, methods=["GET"]),
        _HtmlRoute("/calls/{id:path}", page.call, methods=["GET"]),
        Route("/calls/{id:path}", page.cancel, methods=["POST"]),
    ]


class _HtmlRoute(Route):
    """A route for who asks for HTML, as browsers do; or for events."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not _accepts(Request(scope), _HTML, _EVENTS):
            return Match.NONE, {}
        return super().matches(scope)


class _PageOfCalls:
    def __init__(
        self, calls: Callable[[Request], Calls], *, service: str, handlers: Sequence[str], clock: Clock
    ) -> None:
        self._calls = calls
        self._service = service
        self._handlers = sorted(handlers)
        self._clock = clock
        self._watchers = Watchers()

    async def list(self, request: Request) -> Response:
        if _accepts(request, _EVENTS):
            return self._events(request)
        if "asset" in request.query_params:
            return _asset(request.query_params["asset"])
        calls = self._calls(request)
        try:
            page = decode_page(request.query_params)
        except ContractError as error:
            return self._failure(request, 422, "Not acceptable", str(error))
        try:
            found = await calls.find(page.wanted, before=page.before, limit=page.size)
            counts = await calls.counts()
        except ServiceUnavailable as error:
            return self._failure(request, 503, "Not now", str(error))
        return _html(self._renderer(request).calls(found, page, counts=counts, handlers=self._handlers))

    async def call(self, request: Request) -> Response:
        if _accepts(request, _EVENTS):
            return self._events(request)
        calls, name = self._calls(request), request.path_params["id"]
        try:
            call = await calls.get(name)
            match call.status.completion:
                case Succeeded(reference=None) as result if "result" in request.query_params:
                    return _download(name, result)
                case _:
                    pass
            if "cancel" in request.query_params and not call.status.state.is_final:
                return _html(self._renderer(request).cancellation(call))
            return _html(self._renderer(request).call(call, await calls.log_of(name)))
        except UnknownCall as error:
            return self._failure(request, 404, "Unknown call", str(error))
        except ServiceUnavailable as error:
            return self._failure(request, 503, "Not now", str(error))

    async def cancel(self, request: Request) -> Response:
        """Cancel on behalf of this page's own form, and of nobody else's."""
        if not _is_of_this_page(request):
            return self._failure(
                request, 403, "Refused", "the request comes from another site; use DELETE, or this page"
            )
        name = request.path_params["id"]
        try:
            await self._calls(request).cancel(name)
        except UnknownCall as error:
            return self._failure(request, 404, "Unknown call", str(error))
        except ServiceUnavailable as error:
            return self._failure(request, 503, "Not now", str(error))
        return RedirectResponse(f"{_root(request)}/{quote(name, safe='')}", 303, _HEADERS)

    def _events(self, request: Request) -> Response:
        stream = self._watchers.watch(self._calls(request))
        if stream is None:
            return Response(status_code=204)  # a browser does not come again, and looks by itself
        return StreamingResponse(stream, media_type=_EVENTS, headers={**_HEADERS, "X-Accel-Buffering": "no"})

    def _renderer(self, request: Request) -> Renderer:
        return Renderer(service=self._service, root=_root(request), now=self._clock.now())

    def _failure(self, request: Request, status: int, title: str, detail: str) -> Response:
        return _html(self._renderer(request).failure(title, detail), status)


def _root(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/calls"


def _accepts(request: Request, *media_types: str) -> bool:
    """Tell whether one of the types is named; `*/*`, as curl sends it, is the API's."""
    named = {part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}
    return not named.isdisjoint(media_types)


def _is_of_this_page(request: Request) -> bool:
    """Tell whether the browser says that no other site made it send this (Fetch Metadata, RFC 6454)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def _html(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, _HEADERS)


def _download(name: str, result: Succeeded) -> Response:
    """Return the result as a file to be kept, never shown."""
    file_name = _FILE_NAME.sub("_", name)[:100]
    headers = {**_HEADERS, "Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(result.data, 200, headers, "application/octet-stream")


def _asset(name: str) -> Response:
    if name not in _ASSETS:
        return PlainTextResponse("no such file", 404)
    headers = {"Cache-Control": "max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(_read_asset(name), 200, headers, _ASSETS[name])


@lru_cache
def _read_asset(name: str) -> bytes:
    return (files("longcall.service.page") / "assets" / name).read_bytes()
