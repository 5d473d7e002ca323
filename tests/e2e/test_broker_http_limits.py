"""The HTTP API when something goes wrong: methods that fail, clients that are slow, or go."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from longcall.broker.api.http import HttpApi
from longcall.broker.api.http_server import HttpLimits, HttpServer
from longcall.broker.api.methods import Context
from longcall.broker.errors import StoreError
from longcall.broker.wire import Wire

WAIT_S = 30.0
SOON_S = 0.05
GET = b"GET /v1/projects/p/topics/abc HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"PUT /v1/projects/p/topics/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


class Methods:
    """GetTopic answers once it may, with a topic of the size that is wished."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.was_cancelled = asyncio.Event()
        self.label = ""
        self.error: Exception | None = None

    async def get_topic(self, _request: Any, _: Context) -> Any:
        self.began.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return Wire.Topic(name="n", labels={"a": self.label})

    async def reset(self) -> None:
        raise AssertionError("nobody asked for it")


class Client:
    """One connection; everything that is read of it is waited for, for a while."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def status(self) -> int:
        async with asyncio.timeout(WAIT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """Read to the end of the connection, be it a hard one."""
        read = b""
        try:
            async with asyncio.timeout(WAIT_S):
                while part := await self._reader.read(65536):
                    read += part
        except ConnectionError:
            pass
        return read


@asynccontextmanager
async def served(methods: Methods, limits: HttpLimits) -> AsyncIterator[tuple[HttpServer, Client]]:
    """Serve, and connect; the client's buffers are small."""
    services = {
        "google.pubsub.v1.Publisher": {
            "GetTopic": (methods.get_topic, Wire.GetTopicRequest),
            "CreateTopic": (methods.get_topic, Wire.Topic),
        }
    }
    listener = socket.create_server(("127.0.0.1", 0))
    app = HttpApi(services, reset=methods.reset, body_timeout_s=limits.body_s)
    server = HttpServer(app, listener, limits)
    await server.start()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(listener.getsockname())
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
    try:
        yield server, Client(reader, writer)
    finally:
        writer.close()
        await server.stop()


@pytest.fixture
def methods() -> Methods:
    return Methods()


async def test_client_that_goes_ends_the_method(methods: Methods) -> None:
    async with served(methods, HttpLimits()) as (_, client), asyncio.timeout(WAIT_S):
        client.writer.write(GET)
        await methods.began.wait()
        client.writer.close()
        await methods.was_cancelled.wait()


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (StoreError("the disk is full"), 503, b"UNAVAILABLE"),
        (ZeroDivisionError("a secret"), 500, b"The broker failed; its log says why."),
    ],
)
async def test_failure_is_an_answer(
    methods: Methods, caplog: pytest.LogCaptureFixture, error: Exception, code: int, says: bytes
) -> None:
    methods.may_answer.set()
    methods.error = error
    async with served(methods, HttpLimits()) as (_, client):
        client.writer.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert await client.status() == code
        answer = await client.rest()
    assert says in answer
    assert b"secret" not in answer
    assert ("a secret" in caplog.text) == (code == 500)


async def test_method_that_is_not_here_is_not_implemented(methods: Methods) -> None:
    async with served(methods, HttpLimits()) as (_, client):
        client.writer.write(b"DELETE /v1/projects/p/topics/abc HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.status() == 501


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:"])
async def test_head_that_does_not_come_ends_the_connection(methods: Methods, sent: bytes) -> None:
    async with served(methods, HttpLimits(head_s=SOON_S)) as (_, client):
        client.writer.write(sent)
        assert await client.rest() == b""


async def test_head_that_drips_ends_the_connection(methods: Methods) -> None:
    async with served(methods, HttpLimits(head_s=SOON_S)) as (_, client):
        client.writer.write(GET[:-2])
        rest = asyncio.create_task(client.rest())
        while not (await asyncio.wait({rest}, timeout=0.001))[0]:
            client.writer.write(b"X: y\r\n")
        assert b"200" not in rest.result()


async def test_second_head_that_drips_ends_the_connection(methods: Methods) -> None:
    methods.may_answer.set()
    async with served(methods, HttpLimits(head_s=SOON_S)) as (_, client):
        client.writer.write(GET)
        assert await client.status() == 200
        client.writer.write(GET[:-2])
        assert b"HTTP/1.1" not in await client.rest()


async def test_answer_may_take_longer_than_a_head(methods: Methods) -> None:
    async with served(methods, HttpLimits(head_s=SOON_S)) as (_, client):
        client.writer.write(GET)
        await methods.began.wait()
        asyncio.get_running_loop().call_later(4 * SOON_S, methods.may_answer.set)
        assert await client.status() == 200


async def test_body_that_does_not_come_is_refused(methods: Methods) -> None:
    async with served(methods, HttpLimits(body_s=SOON_S)) as (_, client):
        client.writer.write(HEAD + b"{")
        assert await client.status() == 408
        assert b"DEADLINE_EXCEEDED" in await client.rest()
        assert not methods.began.is_set()


async def test_body_that_ends_early_calls_nothing(methods: Methods) -> None:
    async with served(methods, HttpLimits()) as (_, client):
        client.writer.write(HEAD + b"{")
        client.writer.write_eof()
        assert await client.rest() == b""
        assert not methods.began.is_set()


async def test_rest_of_a_refused_body_does_not_come_for_ever(methods: Methods) -> None:
    async with served(methods, HttpLimits(head_s=SOON_S)) as (_, client):
        client.writer.write(HEAD.replace(b"100", b"99999999999"))
        assert await client.status() == 400
        rest = asyncio.create_task(client.rest())
        while not (await asyncio.wait({rest}, timeout=0.001))[0]:
            client.writer.write(b"x" * 1000)


async def test_answer_that_is_not_read_ends_the_connection(methods: Methods) -> None:
    methods.may_answer.set()
    methods.label = "x" * 20_000_000
    async with served(methods, HttpLimits(answer_s=SOON_S)) as (_, client):
        client.writer.write(GET)
        assert await client.status() == 200
        ended = select.poll()
        ended.register(client.writer.get_extra_info("socket"), select.POLLERR)
        assert await asyncio.to_thread(ended.poll, WAIT_S * 1000)  # nothing is read meanwhile


async def test_answer_that_is_read_slowly_comes_whole(methods: Methods) -> None:
    methods.may_answer.set()
    methods.label = "x" * 3_000_000
    async with served(methods, HttpLimits(head_s=SOON_S)) as (_, client):
        client.writer.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
        await client.status()
        assert methods.label.encode() in await client.rest()


async def test_stop_does_not_wait_for_those_who_say_nothing(methods: Methods) -> None:
    async with served(methods, HttpLimits()) as (server, client), asyncio.timeout(WAIT_S):
        client.writer.write(GET[:10])
        await server.stop()
        assert await client.rest() == b""


async def test_stop_ends_what_does_not_end_by_itself(methods: Methods) -> None:
    async with served(methods, HttpLimits()) as (server, client), asyncio.timeout(WAIT_S):
        client.writer.write(GET)
        await methods.began.wait()
        await server.stop()
        assert methods.was_cancelled.is_set()
