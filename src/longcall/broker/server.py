"""The broker as a server: store, core, timers and the ports, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc

from longcall._core.clock import Clock, ShiftedClock, SystemClock
from longcall.broker.api.handlers import generic_handlers
from longcall.broker.api.health import HealthApi
from longcall.broker.api.methods import Methods
from longcall.broker.api.reflection import ReflectionApi
from longcall.broker.api.services import make_services, make_testing_services
from longcall.broker.config import BrokerConfig
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.reset import reset
from longcall.broker.core.store import MemoryStore, SqliteStore
from longcall.broker.errors import AlreadyExists, BrokerConfigError, StoreError
from longcall.broker.push.pushers import Pushers
from longcall.broker.wire import Wire

if TYPE_CHECKING:
    from longcall.broker.api.http_server import HttpServer

__all__ = ["Broker"]

log = logging.getLogger(__name__)

_OPTIONS: Final = (
    # An oversize request is to be refused with its reason, so it must get in first.
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)
_DRAIN_S: Final = 1.0
_RECOVERY_INTERVAL_S: Final = 1.0


class Broker:
    """An embedded Pub/Sub server; `async with Broker() as broker:` starts and stops it.

    Attributes:
        port: where it listens, once started.
        http_port: where it listens for HTTP, once started; None: nowhere.
    """

    def __init__(self, config: BrokerConfig | None = None, *, clock: Clock | None = None) -> None:
        self._config = config or BrokerConfig()
        self._clock = ShiftedClock(clock or SystemClock())
        self._store = (
            SqliteStore(
                self._config.data_dir, power_safe=self._config.power_safe, on_failure=self._begin_recovery
            )
            if self._config.data_dir is not None
            else MemoryStore()
        )
        self._core = BrokerCore(self._store, self._clock)
        self._pushers = Pushers(self._core, self._clock)
        self._server: grpc.aio.Server | None = None
        self._alarm = asyncio.Event()
        self._health = HealthApi()
        self._tasks: list[asyncio.Task[None]] = []
        self._http: HttpServer | None = None
        self.port = self._config.port
        self.http_port = self._config.http_port

    @property
    def address(self) -> str:
        """`host:port`: the value of PUBSUB_EMULATOR_HOST."""
        return _joined(self._config.host, self.port)

    @property
    def http_address(self) -> str | None:
        """`host:port` of the HTTP/JSON API; None: there is none."""
        return None if self.http_port is None else _joined(self._config.host, self.http_port)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Open the store and listen.

        Raises:
            StoreError: the data directory cannot be used; nothing in it was changed.
            BrokerConfigError: the address cannot be listened on.
        """
        _listening(self._config.host, self._config.port).close()  # gRPC prints its reasons, and raises none
        self._core.load(self._store.open())
        self._core.timers.on_alarm = self._alarm.set
        server = grpc.aio.server(options=_OPTIONS)
        make = make_testing_services if self._config.testing else make_services
        services = make(self._core, self._clock)
        server.add_generic_rpc_handlers(
            [
                self._health.handler(),
                *ReflectionApi(services.unary).handlers(),
                *generic_handlers(services.unary, services.streaming_pull),
            ]
        )
        try:
            self.port = server.add_insecure_port(self.address)
        except RuntimeError as error:
            self._store.close()
            raise BrokerConfigError(
                f"cannot listen on {self.address}: in use or not permitted; choose another port"
            ) from error
        try:
            http = self._make_http(services.unary)
        except BrokerConfigError:
            await server.stop(None)
            self._store.close()
            raise
        self._server, self._http = server, http
        await server.start()
        if http is not None:
            await http.start()
        self._core.state.on_subscription_change = self._pushers.follow
        for subscription in self._core.state.subscriptions.values():
            self._pushers.follow(subscription)
        self._tasks = [
            asyncio.create_task(self._keep_time()),
            asyncio.create_task(self._every(self._config.sweep_interval_s, self._core.sweeper.sweep)),
        ]

    async def stop(self) -> None:
        """Answer what is under way, end the streams, save, close. A repeat does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        self._health.set_serving(False)
        self._core.end_streams()
        await asyncio.gather(
            server.stop(_DRAIN_S),
            self._pushers.aclose(grace_s=_DRAIN_S),
            *([self._http.stop()] if self._http else []),
        )
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreError):
            await self._core.sweeper.sweep()
        self._store.close()

    async def wait_until_stopped(self) -> None:
        """Wait until somebody else has called `stop`."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def ensure_topic(self, name: str) -> None:
        """Create a topic unless it exists.

        Raises:
            InvalidArgument: the name is none.
        """
        with suppress(AlreadyExists):
            await self._core.topics.create(Wire.Topic(name=name))

    async def tick(self) -> None:
        """Do at once what the clock says is due; for tests that move a clock of their own."""
        self._core.sweeper.end_leases()
        await self._core.sweeper.sweep()

    def _make_http(self, services: Mapping[str, Methods]) -> HttpServer | None:
        """Listen for HTTP, if that is wanted. Who does not want it need not have its libraries in memory."""
        if self._config.http_port is None:
            return None
        try:
            from longcall.broker.api.http import HttpApi
            from longcall.broker.api.http_server import HttpLimits, HttpServer
        except ImportError as error:
            raise BrokerConfigError(f"http_port: {error}: pip install 'longcall[broker]'") from error
        listener = _listening(self._config.host, self._config.http_port)
        self.http_port = listener.getsockname()[1]
        limits = HttpLimits()
        app = HttpApi(services, reset=lambda: reset(self._core), body_timeout_s=limits.body_s)
        return HttpServer(app, listener, limits)

    def _begin_recovery(self) -> None:
        log.error("The store could not be written: nothing is accepted until it can be again")
        self._health.set_serving(False)
        self._tasks.append(asyncio.create_task(self._recover()))

    async def _recover(self) -> None:
        """Start again from what is durable, as after a crash: memory may be ahead of it."""
        while True:
            self._store.close()
            try:
                self._core.load(self._store.open())
            except StoreError as error:
                log.error("%s", error)
                await asyncio.sleep(_RECOVERY_INTERVAL_S)
            else:
                break
        self._health.set_serving(True)
        log.info("The store can be written again")

    async def _keep_time(self) -> None:
        """Sleep until the next lease ends, or an earlier one comes up."""
        while True:
            self._core.sweeper.end_leases()
            self._alarm.clear()
            next_s = self._core.timers.next_s()
            left_s = None if next_s is None else max(0.0, next_s - self._clock.monotonic_s())
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._alarm.wait()

    async def _every(self, interval_s: float, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await action()
            except StoreError as error:
                log.error("%s", error)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, or raise BrokerConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> BrokerConfigError:
    return BrokerConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another host or port")
