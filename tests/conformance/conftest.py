"""The message systems that the suite runs against, and what becomes of a test on each of them.

`LONGCALL_GOOGLE_EMULATOR` names the executable of Google's emulator; without it, that is left out.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from tests.conformance.pubsub import PubSub, connected
from tests.conformance.rest import connected_by_http
from tests.conformance.table import Table, page

from longcall.broker import BrokerConfig
from longcall.contract import Message
from longcall.testing.broker import running_broker, started_broker
from longcall.testing.clock import VirtualClock
from longcall.transport import Delivery, InboxSpec, InboxStream, Transport
from longcall.transport.memory import MemoryBackend, MemoryTransport
from longcall.transport.pubsub import PubSubTransport

GOOGLE_EMULATOR = os.environ.get("LONGCALL_GOOGLE_EMULATOR")
SYSTEMS = ["memory", "broker", *(["google"] if GOOGLE_EMULATOR else [])]
WAIT_S = 30.0
RESET_S = 5.0


@dataclass
class System:
    """A message system, a topic of it, and two connections."""

    name: str
    transport: Transport
    other: Transport
    topic: str
    advance: Callable[[float], None]

    def spec(self, **fields: object) -> InboxSpec:
        """An inbox that lets everything through, with a name of its own."""
        return InboxSpec(
            **{"name": f"projects/p/subscriptions/inbox-{uuid4().hex}", "topic": self.topic, "filter": ""}
            | fields
        )

    async def publish(self, text: str = "x", **attributes: str) -> str:
        return await self.transport.publish(self.topic, Message(data=text.encode(), attributes=attributes))

    async def receive(self, stream: InboxStream) -> Delivery:
        """The next message of a stream, however slow the machine."""
        return await asyncio.wait_for(anext(aiter(stream)), WAIT_S)


class GoogleEmulator:
    """Google's emulator: started when it is first asked for, emptied between tests."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._address = ""

    def address(self) -> str:
        """`host:port`, with nothing in it."""
        if not self._is_empty():
            self.stop()
            self._start()
        return self._address

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # the executable is a script that starts Java
            self._process.wait()
            self._reading.join()
            assert self._process.stderr
            self._process.stderr.close()

    def _is_empty(self) -> bool:
        """Empty it; tell whether that has worked: some of the tests leave it unable to answer."""
        if self._process is None:
            return False
        reset = urllib.request.Request(f"http://{self._address}/reset", method="POST")
        try:
            with urllib.request.urlopen(reset, timeout=RESET_S) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _start(self) -> None:
        assert GOOGLE_EMULATOR
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._address = f"127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [GOOGLE_EMULATOR, "--host=127.0.0.1", f"--port={port}"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stderr
        for line in self._process.stderr:
            if "Server started" in line:
                break
        # It logs much, and stands still when nobody reads that.
        self._reading = threading.Thread(target=self._process.stderr.read)
        self._reading.start()


@contextmanager
def opened(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[Callable[[], Transport], Callable[[float], None]]]:
    """Yield how to connect to a system, and how to let its time pass."""
    name = request.param
    clock = VirtualClock()
    if name == "memory":
        backend = MemoryBackend(clock=clock)
        with clock.listening(backend.tick):
            yield lambda: MemoryTransport(backend), clock.advance
    elif name == "broker":
        with running_broker(clock=clock) as address:
            yield lambda: PubSubTransport(emulator_host=address), clock.advance
    else:  # its time passes by itself
        address = request.getfixturevalue("google_address")
        yield lambda: PubSubTransport(emulator_host=address), lambda _seconds: None


@pytest.fixture(scope="session")
def google_emulator() -> Iterator[GoogleEmulator]:
    emulator = GoogleEmulator()
    yield emulator
    emulator.stop()


@pytest.fixture
def google_address(google_emulator: GoogleEmulator) -> str:
    return google_emulator.address()


@pytest.fixture(params=[*(name for name in SYSTEMS if name != "memory"), "http"])
def pubsub(request: pytest.FixtureRequest) -> Iterator[PubSub]:
    """A server of the Pub/Sub API. Ours is new for each test, and its time is the test's.

    `http` is ours too, by Google's own client of the HTTP/JSON API.
    """
    clock = VirtualClock()
    if request.param == "http":
        with started_broker(BrokerConfig(http_port=0), clock=clock) as broker:
            assert broker.http_address
            with connected_by_http(broker.http_address, clock.advance) as server:
                yield server
    elif request.param == "broker":
        with (
            running_broker(clock=clock) as address,
            connected(request.param, address, clock.advance) as server,
        ):
            yield server
    else:
        address = request.getfixturevalue("google_address")
        with connected(request.param, address, lambda _seconds: None) as server:
            yield server


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run write the page of the docs."""
    parser.addoption("--conformance-table", type=Path, metavar="FILE", help="write what was found here")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, if somebody wants the table."""
    if config.getoption("--conformance-table", None):
        if not GOOGLE_EMULATOR:
            raise pytest.UsageError(
                "--conformance-table: the page would lose a column. LONGCALL_GOOGLE_EMULATOR names the "
                "executable of Google's emulator; the suite itself runs without it, in make test"
            )
        config.pluginmanager.register(Table(), "conformance-table")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the table."""
    table = config.pluginmanager.get_plugin("conformance-table")
    if isinstance(table, Table):
        config.getoption("--conformance-table").write_text(page(table, {"google": emulator_version()}))


def emulator_version() -> str:
    """Return the version in the name of the emulator's library."""
    library = Path(GOOGLE_EMULATOR or "").parent.parent / "lib"
    found = (re.search(r"-(\d+(\.\d+)+)", path.name) for path in library.glob("*emulator*.jar"))
    return next((match[1] for match in found if match), "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what Google's emulator does differently, and what would take too long there."""
    for item in items:
        if "google" not in getattr(getattr(item, "callspec", None), "params", {}).values():
            continue
        for marker in item.iter_markers("emulator_deviates"):
            item.add_marker(pytest.mark.xfail(reason=marker.args[0], strict=True))
        for marker in item.iter_markers("needs_virtual_clock"):
            item.add_marker(pytest.mark.skip(reason=f"not measured: {marker.args[0]}"))


@pytest.fixture(params=SYSTEMS)
async def system(request: pytest.FixtureRequest) -> AsyncIterator[System]:
    with opened(request) as (connect, advance):
        transport, other = connect(), connect()
        topic = f"projects/p/topics/topic-{uuid4().hex}"
        await transport.create_topic(topic)
        try:
            yield System(request.param, transport, other, topic, advance)
        finally:
            await transport.aclose()
            await other.aclose()


@pytest.fixture(scope="module", params=[name for name in SYSTEMS if name != "memory"])
def pubsub_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """`host:port` of a server that speaks Google's API, for the tests of one file."""
    if request.param == "broker":
        with running_broker() as address:
            yield address
    else:
        yield request.getfixturevalue("google_emulator").address()
