"""One POST to somebody's HTTP server, which may be slow, dead or hostile.

httpcore2 is what httpx2 stands on. It is used as it is: no redirects are followed, no
cookies kept, no proxy or credentials taken from the environment. There is no time
limit here: the caller has one, and cancels.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import httpcore2
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream

from longcall._core.errors import LongcallError
from longcall.broker.push.request import PushRequest

__all__ = ["EndpointError", "Endpoints"]

_MAX_RESPONSE_BYTES: Final = 256 * 1024
_BODY_WAIT_S: Final = 1.0
_KEEP_ALIVE_S: Final = 1.0  # shorter than any server's, which might close just when the next is sent
_MAX_IDLE: Final = 32
_PROCESSING: Final = (b"HTTP/1.1 102", b"HTTP/1.0 102")
_FAILURES: Final = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)
_USER_AGENT: Final = (b"User-Agent", b"longcall-broker")


class EndpointError(LongcallError):
    """There was no answer. Pushing again may succeed."""

    retryable = True


class Endpoints:
    """Sends to any of them. For one event loop; `aclose` ends it.

    Connections are kept for a moment. How many there are is the caller's to bound.
    """

    def __init__(self) -> None:
        self._plain = _pool(None)
        self._tls: httpcore2.AsyncConnectionPool | None = None

    async def post(self, url: str, request: PushRequest) -> int:
        """Send, and return the status of the answer; what else it says is not looked at.

        Cancelling closes the connection.

        Raises:
            EndpointError: there is no server, or what it says is no HTTP or has no end.
        """
        try:
            answer = await self._pool_for(url).handle_async_request(_to_send(url, request))
        except _Processing:
            return 102
        except _FAILURES as error:
            raise EndpointError(f"{type(error).__name__}: {error}".removesuffix(": ")) from error
        try:
            # A connection whose answer was read to its end can be used again.
            with suppress(EndpointError, TimeoutError, *_FAILURES):
                async with asyncio.timeout(_BODY_WAIT_S):
                    async for _ in answer.aiter_stream():
                        pass
        finally:
            await answer.aclose()
        return answer.status

    async def aclose(self) -> None:
        """Close all connections."""
        await self._plain.aclose()
        if self._tls is not None:
            await self._tls.aclose()

    def _pool_for(self, url: str) -> httpcore2.AsyncConnectionPool:
        if not url.lower().startswith("https:"):
            return self._plain
        if self._tls is None:
            self._tls = _pool(ssl.create_default_context())
        return self._tls


class _Processing(Exception):
    """The answer begins with status 102, an ack for Pub/Sub. For HTTP another would follow it."""


class _Stream(AsyncNetworkStream):
    """A connection that reads so much for each request and no more."""

    def __init__(self, inner: AsyncNetworkStream) -> None:
        self._inner = inner
        self._received_bytes = 0
        self._head = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(max_bytes, timeout)
        self._received_bytes += len(data)
        if len(self._head) < len(_PROCESSING[0]):
            self._head = (self._head + data)[: len(_PROCESSING[0])]
            if self._head in _PROCESSING:
                raise _Processing
        if self._received_bytes > _MAX_RESPONSE_BYTES:
            raise EndpointError(f"the answer has more than {_MAX_RESPONSE_BYTES} bytes")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._received_bytes, self._head = 0, b""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Network(AsyncNetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        return _Stream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))


def _pool(context: ssl.SSLContext | None) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=context,
        max_connections=None,
        max_keepalive_connections=_MAX_IDLE,
        keepalive_expiry=_KEEP_ALIVE_S,
        network_backend=_Network(),
    )


def _to_send(url: str, request: PushRequest) -> httpcore2.Request:
    parts = urlsplit(url)
    address, _, host = parts.netloc.rpartition("@")
    headers = [(b"Host", host.encode()), _USER_AGENT, *request.headers]
    headers.append((b"Content-Length", str(len(request.body)).encode()))
    if address:
        login = base64.b64encode(unquote_to_bytes(address))
        headers.append((b"Authorization", b"Basic " + login))
    return httpcore2.Request("POST", url, headers=headers, content=request.body)
