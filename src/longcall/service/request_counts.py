"""Tells an observer of each HTTP request, by the template of its path: ids in paths are no labels."""

from __future__ import annotations

from collections.abc import Collection

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longcall.service.observer import Observer

__all__ = ["CountRequests"]


class CountRequests:
    """ASGI middleware: tells an observer of each request when its answer begins."""

    def __init__(self, app: ASGIApp, *, observer: Observer, routes: Collection[BaseRoute]) -> None:
        """Stand before `app`.

        Args:
            app: the application.
            observer: is told.
            routes: those of the application, each with an endpoint of its own; a path that none of them
                takes has no template.
        """
        self._app = app
        self._observer = observer
        self._templates = {route.endpoint: route.path for route in routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        statuses: list[int] = []

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                self._count(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            if not statuses:  # an error is on its way to who answers it, outside of all middleware
                self._count(scope, 500)

    def _count(self, scope: Scope, status: int) -> None:
        # Starlette's router leaves in the scope what it has found.
        route = self._templates.get(scope["endpoint"], "") if "endpoint" in scope else ""
        self._observer.answered(method=scope["method"], route=route, status=status)
