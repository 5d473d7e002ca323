"""Serves the HTTP application with uvicorn, in the event loop of the broker.

A connection ends when its client takes too long: over the head of a request, or over reading
an answer. The application sees to the bodies.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HttpLimits", "HttpServer"]

_DRAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What a client may take its time with.

    Attributes:
        head_s: for a request's first line and headers, from the opening of the connection on.
        body_s: for its body.
        answer_s: for reading what was sent last.
    """

    head_s: float = 30.0
    body_s: float = 60.0
    answer_s: float = 60.0


class HttpServer:
    """An HTTP server. It handles no signals and changes nothing of logging but uvicorn's access log."""

    def __init__(self, app: ASGIApp, listener: socket.socket, limits: HttpLimits) -> None:
        """Serve an application.

        Args:
            app: without a lifespan.
            listener: bound and listening; closed at the end.
            limits: of patience.
        """
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                app,
                http=cast(type[asyncio.Protocol], partial(_Connection, limits)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when requests are answered."""
        self._serving = asyncio.create_task(self._server.serve([self._listener]))
        await self._server.is_up.wait()

    async def stop(self) -> None:
        """Answer what is under way, and close."""
        if self._serving is not None:
            self._server.is_over.set()
            await self._serving


class _Server(uvicorn.Server):
    """Waits for its end instead of looking ten times a second whether it has come."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self.is_over = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_up.set()

    async def main_loop(self) -> None:
        await self.is_over.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close; what is under way has a moment to be answered."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(0)  # connections that have closed tell so
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Connection(H11Protocol):
    """A connection with a limit of patience; h11, for it limits the size of a head, too."""

    def __init__(self, limits: HttpLimits, /, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = _Fuse(limits.head_s)
        self._answer = _Fuse(limits.answer_s)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of all that waits
        self._head.light(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr] # None at first
            self._head.light(self.transport)
        else:
            self._head.put_out()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer.light(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._answer.put_out()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head.put_out()
        self._answer.put_out()


class _Fuse:
    """Ends a connection after a while, unless it is put out before."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._timer: asyncio.TimerHandle | None = None

    def light(self, transport: asyncio.Transport) -> None:
        """Begin to wait. One that burns already is left alone."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._length_s, _cut_off, transport)

    def put_out(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _cut_off(transport: asyncio.Transport) -> None:
    """End a connection, and let the kernel keep nothing of it either."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
