"""`Service`: functions that become long-running calls, and the application that serves them."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from longcall._core.clock import Clock, SystemClock
from longcall.service.call import Handler
from longcall.service.config import ServiceConfig
from longcall.service.errors import ServiceConfigError
from longcall.service.outbox import Publisher
from longcall.service.process import check_importable
from longcall.service.store import CallStore, MemoryCallStore
from longcall.service.supervisor import Supervisor
from longcall.transport.port import Transport

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["Service"]

_Handler = TypeVar("_Handler", bound=Handler)
_RESERVED = ("/calls", "/healthz")
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
        self._handlers: dict[str, Handler] = {}

    @property
    def source(self) -> str:
        """The CloudEvents source of the reports."""
        return f"/services/{quote(self.name, safe='')}"

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by path."""
        return MappingProxyType(self._handlers)

    def handler(self, path: str) -> Callable[[_Handler], _Handler]:
        """Register a function as the handler of `POST {path}`; the function itself stays as it is.

        A synchronous function runs in a process of its own, which can be stopped at any point and must
        be able to import it. An asynchronous one runs as a task.

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
            self._handlers[path] = function
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
            store: where calls are kept. None: in memory.
            clock: the clocks to go by.

        Raises:
            ServiceConfigError: there is no handler, or a synchronous one that no child process can import,
                or the environment names no topic.
        """
        from longcall.service.http import make_app

        if not self._handlers:
            raise ServiceConfigError("service", "it has no handlers: add one with @service.handler('/path')")
        settings = config or ServiceConfig.from_env(os.environ)
        clock = clock or SystemClock()
        targets = {
            path: check_importable(handler)
            for path, handler in self._handlers.items()
            if not inspect.iscoroutinefunction(handler)
        }

        @asynccontextmanager
        async def supervised() -> AsyncIterator[Supervisor]:
            async with _open(transport) as connection:
                supervisor = Supervisor(
                    self._handlers,
                    targets,
                    store=store or _memory_store(settings, clock),
                    publisher=Publisher(
                        connection,
                        source=self.source,
                        clock=clock,
                        progress_interval_s=settings.progress_interval_s,
                    ),
                    config=settings,
                    clock=clock,
                )
                try:
                    yield supervisor
                finally:
                    await supervisor.stop()

        return make_app(list(self._handlers), config=settings, supervised=supervised)


def _memory_store(config: ServiceConfig, clock: Clock) -> MemoryCallStore:
    return MemoryCallStore(
        max_ended=config.max_ended,
        max_age_s=config.max_ended_age_s,
        max_result_bytes=config.max_ended_bytes,
        clock=clock,
    )


def _open(transport: Transport | None) -> AbstractAsyncContextManager[Transport]:
    return _borrowed(transport) if transport is not None else _own()


@asynccontextmanager
async def _borrowed(transport: Transport) -> AsyncIterator[Transport]:
    yield transport


@asynccontextmanager
async def _own() -> AsyncIterator[Transport]:
    from longcall.transport.pubsub import PubSubTransport

    transport = PubSubTransport.from_env(os.environ)
    try:
        yield transport
    finally:
        await transport.aclose()
