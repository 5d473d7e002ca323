"""`Service`: functions that become long-running calls, and the application that serves them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from longcall._core.clock import Clock, SystemClock
from longcall.service.call import Handler
from longcall.service.config import ServiceConfig
from longcall.service.errors import ServiceConfigError
from longcall.service.handlers import HandlerSpec, Isolation, OnInterrupt
from longcall.service.process import check_importable
from longcall.transport.port import Transport

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from longcall.service.store import CallStore

__all__ = ["Service"]

_Handler = TypeVar("_Handler", bound=Handler)
_RESERVED = ("/calls", "/health", "/metrics", "/ready")
_MAX_NAME_LENGTH = 80


class Service:
    """A set of handlers behind one address.

    Args:
        name: who speaks in the reports: the CloudEvents source is `/services/{name}`.
    """

    def __init__(self, name: str) -> None:
        if not name.isprintable() or not 0 < len(name) <= _MAX_NAME_LENGTH:
            raise ServiceConfigError("name", f"1 to {_MAX_NAME_LENGTH} printable characters")
        self.name = name
        self._handlers: dict[str, HandlerSpec] = {}

    @property
    def source(self) -> str:
        """The CloudEvents source of the reports."""
        return f"/services/{quote(self.name, safe='')}"

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The registered functions by path."""
        return {path: spec.function for path, spec in self._handlers.items()}

    @property
    def specs(self) -> Mapping[str, HandlerSpec]:
        """The handlers by path, with how each is to run."""
        return MappingProxyType(self._handlers)

    def handler(
        self,
        path: str,
        *,
        isolation: Isolation | None = None,
        on_interrupt: OnInterrupt = "rerun",
        max_running: int | None = None,
    ) -> Callable[[_Handler], _Handler]:
        """Register a function as the handler of `POST {path}`; the function itself stays as it is.

        Args:
            path: of the endpoint.
            isolation: `process`: each call in a process of its own, which can be stopped at any point and
                must be able to import the function; `task`: in the service's event loop, asynchronous
                functions only. None: a process for `def`, a task for `async def`.
            on_interrupt: what becomes of a call whose work died with the service: `rerun` does it again
                from its beginning, as the next attempt; `fail` fails it.
            max_running: calls of this handler that run at once; None: as many as the service runs.

        Raises:
            ServiceConfigError: the path is taken, reserved, or does not begin with a slash.
        """
        if not path.startswith("/") or "{" in path:
            raise ServiceConfigError("path", f"{path!r} must begin with a slash and have no parameters")
        if f"{path}/".startswith(tuple(f"{reserved}/" for reserved in _RESERVED)):
            raise ServiceConfigError("path", f"{path!r} is one of the service's own: {', '.join(_RESERVED)}")
        if path in self._handlers:
            raise ServiceConfigError("path", f"{path!r} has a handler already")

        def register(function: _Handler) -> _Handler:
            self._handlers[path] = HandlerSpec.of(
                path, function, isolation=isolation, on_interrupt=on_interrupt, max_running=max_running
            )
            return function

        return register

    def asgi(
        self,
        config: ServiceConfig | None = None,
        *,
        transport: Transport | None = None,
        store: CallStore | None = None,
        clock: Clock | None = None,
    ) -> Starlette:
        """Return the ASGI application; its lifespan starts and stops the work.

        Args:
            config: None: from the environment.
            transport: where to publish; the caller closes it. None: Google Pub/Sub, or the emulator
                that `PUBSUB_EMULATOR_HOST` names.
            store: where calls are kept; the caller closes it. None: as `config.store` has it.
            clock: the clocks to go by.

        Raises:
            ServiceConfigError: there is no handler, or a synchronous one that no child process can import,
                or the environment names no topic.
        """
        from longcall.service.application import make_application

        if not self._handlers:
            raise ServiceConfigError("service", "it has no handlers: add one with @service.handler('/path')")
        for spec in self._handlers.values():
            if spec.isolation == "process":
                check_importable(spec.function)
        settings = config or ServiceConfig.from_env(os.environ)
        if not settings.store:
            settings = replace(settings, store=_default_store(self.name, os.environ))
        return make_application(
            self._handlers,
            config=settings,
            name=self.name,
            source=self.source,
            transport=transport,
            store=store,
            clock=clock or SystemClock(),
        )


def _default_store(service: str, environ: Mapping[str, str]) -> str:
    """Return where the calls of a service are kept if nobody says: in the user's folder for state (XDG)."""
    state = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(state) / "longcall" / "services" / quote(service, safe=""))
