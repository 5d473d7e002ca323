"""Serves the application with uvicorn until a signal, and answers while running work comes to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette

from longcall.service.running import Running

__all__ = ["serve", "work"]

_SLOW_REQUEST_S: Final = 5
"""What a request that is being sent or answered gets when the service ends."""
_MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a request's line and headers, in memory; if they have not ended then, the answer is 400."""


def serve(app: Starlette, listener: socket.socket, *, log_level: str, on_started: Callable[[], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    A second SIGINT waits for nothing any more.

    Args:
        app: what `Service.asgi` returned.
        listener: bound and listening; closed at the end.
        log_level: uvicorn's own.
        on_started: called once requests are answered.

    Raises:
        ServiceConfigError: the store or Pub/Sub cannot be used as configured.
    """
    config = uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        log_config=None,
        lifespan="off",  # entered below: what it raises is for the caller
        loop="asyncio",  # uvloop now and then finds a new child's input closed
        http="h11",  # httptools, which may be installed, takes headers without end
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_graceful_shutdown=_SLOW_REQUEST_S,
    )
    server = _Server(config, app=app, on_started=on_started)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def work(app: Starlette, *, on_started: Callable[[], None]) -> None:
    """Run calls and answer nobody, until SIGTERM or SIGINT. A second signal waits for nothing any more.

    Args:
        app: what `Service.asgi` returned.
        on_started: called once it works.

    Raises:
        ServiceConfigError: the store or Pub/Sub cannot be used as configured.
    """
    asyncio.run(_work(app, on_started))


async def _work(app: Starlette, on_started: Callable[[], None]) -> None:
    told = asyncio.Event()

    def tell() -> None:
        if told.is_set():
            os._exit(1)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    async with app.router.lifespan_context(app):
        on_started()
        await told.wait()


class _Server(uvicorn.Server):
    """Lets running calls end before it closes its sockets: new ones are answered 503 meanwhile."""

    def __init__(self, config: uvicorn.Config, *, app: Starlette, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_started = on_started

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with self._app.router.lifespan_context(self._app):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()

    async def main_loop(self) -> None:
        await super().main_loop()
        running = self._app.state.running
        assert isinstance(running, Running)  # the lifespan put it there
        stopping = asyncio.create_task(running.stop())
        while not stopping.done() and not self.force_exit:
            await asyncio.wait({stopping}, timeout=0.1)
        stopping.cancel()
        await asyncio.wait({stopping})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn's own raises the signal again at the end: a service that was asked to stop has not failed.
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
