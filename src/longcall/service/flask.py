"""A service inside a Flask application: the article's case, made durable.

Flask answers requests in threads and has no event loop. The service runs in one of
its own, in a thread of the same process, and requests are handed over to it.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
from concurrent.futures import Future
from typing import Final

from a2wsgi import ASGIMiddleware
from flask import Blueprint, request
from flask.blueprints import BlueprintSetupState
from starlette.applications import Starlette
from werkzeug.wrappers import Response

from longcall.service.config import ServiceConfig
from longcall.service.service import Service

__all__ = ["blueprint"]

log = logging.getLogger(__name__)

_METHODS: Final = ("GET", "POST", "DELETE")
_STOP_S: Final = 30.0


def blueprint(service: Service, config: ServiceConfig | None = None) -> Blueprint:
    """Return a blueprint with the service's endpoints.

    Registering it starts the work, and the process's end stops it. One process works on a store: serve
    with several threads, not with several processes (gunicorn: `--workers 1 --threads 16`, and no
    `--preload`; Flask's own server: no reloader).

    Args:
        service: whose handlers to serve.
        config: None: from the environment.

    Raises:
        ServiceConfigError: on registration: the service, its store or its topic cannot be used as configured.
    """
    running = _Background(service.asgi(config))
    found = Blueprint("longcall", __name__)

    def hand_over(**_parts: str) -> Response:
        if "text/event-stream" in request.accept_mimetypes.values():
            return Response(status=204)  # it would keep a thread: the page looks now and then instead
        return Response.from_app(running.wsgi, request.environ)  # type: ignore[arg-type] # its own types of WSGI

    own = ("/health", "/ready", "/metrics", "/calls", "/calls/", "/calls/<path:name>")
    for path in (*service.handlers, *own):
        found.add_url_rule(path, endpoint=path.replace(".", "-"), view_func=hand_over, methods=_METHODS)

    @found.record_once
    def start(_state: BlueprintSetupState) -> None:
        if not _is_child():
            running.start()

    return found


def _is_child() -> bool:
    """Tell whether this process imports the application for the sake of one handler."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "longcall.service.child"


class _Background:
    """An ASGI application at work in a thread."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._stopping: asyncio.Event | None = None
        self._ended: Future[None] | None = None
        self.wsgi = ASGIMiddleware(app, loop=self._loop)  # type: ignore[arg-type] # its own types of ASGI

    def start(self) -> None:
        """Start the service, and return when it is ready.

        Raises:
            ServiceConfigError: it cannot start as it is configured.
        """
        # A daemon, lest it hold up the interpreter's end; `atexit` waits for it.
        threading.Thread(target=self._loop.run_forever, name="longcall-service", daemon=True).start()
        ready: Future[None] = Future()
        self._ended = asyncio.run_coroutine_threadsafe(self._live(ready), self._loop)
        self._ended.add_done_callback(lambda ended: _pass_on(ended, ready))
        ready.result()
        atexit.register(self._stop)

    async def _live(self, ready: Future[None]) -> None:
        self._stopping = asyncio.Event()
        async with self._app.router.lifespan_context(self._app):
            ready.set_result(None)
            await self._stopping.wait()

    def _stop(self) -> None:
        assert self._ended is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        try:
            self._ended.result(_STOP_S)
        except TimeoutError:
            log.warning("The service did not stop in %.0f s; the next start goes on with its calls", _STOP_S)


def _pass_on(ended: Future[None], ready: Future[None]) -> None:
    """Let whoever waits for the start know that it failed."""
    if not ready.done() and (error := ended.exception()) is not None:
        ready.set_exception(error)
