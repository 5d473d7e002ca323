"""`longcall serve` as a process, with a broker: calls, cancellation, kills, outages, misuse."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from tests.e2e.processes import WAIT_S, wait_until_gone

from longcall.broker import BrokerConfig
from longcall.contract import (
    Accepted,
    CallState,
    CallStatus,
    Cancelled,
    Completion,
    Failed,
    Problem,
    Progress,
    Report,
    Succeeded,
    decode_report,
    is_completion,
)
from longcall.testing import running_broker
from longcall.transport import InboxSpec, InboxStream
from longcall.transport.pubsub import PubSubTransport

HERE = Path(__file__).parent
TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/inbox"


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "longcall.cli.main", "serve", *arguments]


class Process:
    """A running service."""

    def __init__(self, broker: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            _command("workers:service", "--port", "0", "--topic", TOPIC, *arguments),
            cwd=HERE,
            env={**os.environ, "PUBSUB_EMULATOR_HOST": broker},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self._log: list[str] = []
        self._logged = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, args=(self.popen.stderr,))
        self._reader.start()
        first = self.popen.stdout.readline()
        assert first.startswith("Listening on http://127.0.0.1:"), first + self.log
        self.url = first.split()[2].rstrip(",")

    @property
    def log(self) -> str:
        return "".join(self._log)

    def wait_for_log(self, words: str) -> None:
        with self._logged:
            assert self._logged.wait_for(lambda: words in self.log, WAIT_S), self.log

    def end(self, how: signal.Signals) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        self.popen.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        status = self.popen.wait(WAIT_S)
        self._reader.join()
        for stream in (self.popen.stdout, self.popen.stderr):
            assert stream is not None
            stream.close()
        return status

    def _read_log(self, stream: Iterator[str]) -> None:
        for line in stream:
            with self._logged:
                self._log.append(line)
                self._logged.notify_all()


@contextmanager
def serving(broker: str, *arguments: str) -> Iterator[Process]:
    process = Process(broker, *arguments)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.end(signal.SIGKILL)


class Caller:
    """Somebody who calls the service, and hears every report on one stream.

    One, since what a stream has been delivered is leased to it for a while after it is closed.
    """

    def __init__(self, http: AsyncClient, stream: InboxStream) -> None:
        self.http = http
        self._stream = stream
        self._heard: list[Report] = []

    async def start(self, path: str, name: str, **request: object) -> str:
        answer = await self.http.post(f"{path}?correlid={name}", **request)  # type: ignore[arg-type]
        assert answer.status_code == 202, answer.text
        return str(answer.headers["location"])

    async def until(self, name: str, kind: type | tuple[type, ...]) -> list[Report]:
        """Return the reports of a call up to the first of a kind."""
        async with asyncio.timeout(WAIT_S):
            while not any(isinstance(report.body, kind) for report in self._of(name)):
                report = decode_report((await anext(aiter(self._stream))).message)
                assert report is not None
                self._heard.append(report)
        return self._of(name)

    async def completion(self, name: str) -> Completion:
        (body,) = (
            r.body for r in await self.until(name, (Succeeded, Failed, Cancelled)) if is_completion(r.body)
        )
        return body  # type: ignore[return-value]

    async def worker(self, name: str) -> int:
        """Wait for the first progress of a call, which names the process that works on it."""
        for report in await self.until(name, Progress):
            if isinstance(report.body, Progress):
                return int(report.body.message)
        raise AssertionError

    def _of(self, name: str) -> list[Report]:
        return [report for report in self._heard if report.correlation_id == name]


@asynccontextmanager
async def calling(service: Process, broker: str) -> AsyncIterator[Caller]:
    transport = PubSubTransport(emulator_host=broker)
    try:
        await transport.create_topic(TOPIC)
        await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
        async with (
            AsyncClient(base_url=service.url) as http,
            transport.open_stream(INBOX, lease_s=600) as stream,
        ):
            yield Caller(http, stream)
    finally:
        await transport.aclose()


@pytest.fixture
def broker() -> Iterator[str]:
    with running_broker() as address:
        yield address


async def test_calls_of_every_kind_are_carried_out_and_reported(broker: str) -> None:
    with serving(broker) as service:
        async with calling(service, broker) as caller:
            await caller.start("/steps", "steps")
            await caller.http.post(
                "/serve?correlid=bare", content=b"hello", headers={"content-type": "text/plain"}
            )
            await caller.start("/fails", "fails")
            await caller.start("/refuses", "refuses")
            steps = await caller.until("steps", Succeeded)
            assert isinstance(steps[0].body, Accepted)
            assert steps[-2].body == Progress(done=100_000, total=100_000, message="all done")
            assert [report.sequence for report in steps] == sorted(report.sequence or 0 for report in steps)
            assert await caller.completion("bare") == Succeeded(data=b"HELLO", content_type="text/plain")
            assert await caller.completion("fails") == Failed(
                problem=Problem(title="RuntimeError", detail="the disk of node 7 is full", retryable=True)
            )
            refused = await caller.completion("refuses")
            assert isinstance(refused, Failed)
            assert not refused.problem.retryable
        assert service.end(signal.SIGTERM) == 0
    assert "Traceback" in service.log  # of /fails
    assert "fork" not in service.log  # gRPC has nothing to say
    assert "interpreter shutdown" not in service.log


async def test_twenty_requests_at_once_with_one_id_are_one_piece_of_work(broker: str) -> None:
    with serving(broker) as service:
        async with calling(service, broker) as caller:
            for number in range(5):
                name = f"call-{number}"
                locations = await asyncio.gather(*(caller.start("/echo", name, json=[1]) for _ in range(20)))
                assert set(locations) == {f"/calls/{name}"}
                reports = await caller.until(name, Succeeded)
                assert len([r for r in reports if isinstance(r.body, Accepted)]) == 1
        service.end(signal.SIGTERM)
    for number in range(5):
        assert service.log.count(f"working on call-{number}") == 1


async def test_delete_ends_a_process_that_never_would(broker: str) -> None:
    with serving(broker) as service:
        async with calling(service, broker) as caller:
            location = await caller.start("/spin", "a")
            pid = await caller.worker("a")
            assert (await caller.http.delete(location)).status_code == 202
            assert isinstance(await caller.completion("a"), Cancelled)
            wait_until_gone(pid)
            status = CallStatus.from_wire((await caller.http.get(location)).json())
            assert status.state is CallState.CANCELLED


async def test_killed_service_leaves_no_process_behind(broker: str) -> None:
    for number in range(10):
        with serving(broker, "--store", "memory") as service:
            async with calling(service, broker) as caller:
                name = f"call-{number}"
                await caller.start("/spin", name)
                pid = await caller.worker(name)
                service.end(signal.SIGKILL)
                wait_until_gone(pid)


async def test_stopping_service_lets_work_end_and_answers_meanwhile(broker: str, tmp_path: Path) -> None:
    with serving(broker, "--drain", "60") as service:
        async with calling(service, broker) as caller:
            location = await caller.start("/waits", "a", json=str(tmp_path / "go"))
            await caller.worker("a")
            service.popen.send_signal(signal.SIGTERM)
            service.wait_for_log("Stopping: 1 calls")
            refused = await caller.http.post("/echo?correlid=b")
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            assert CallStatus.from_wire((await caller.http.get(location)).json()).state is CallState.RUNNING
            (tmp_path / "go").touch()
            assert await caller.completion("a") == Succeeded.of("done")
            assert service.wait() == 0


async def test_stopping_service_fails_what_does_not_end_in_time_if_it_will_forget_it(broker: str) -> None:
    with serving(broker, "--drain", "0", "--store", "memory") as service:
        async with calling(service, broker) as caller:
            await caller.start("/spin", "a")
            pid = await caller.worker("a")
            assert service.end(signal.SIGTERM) == 0
            wait_until_gone(pid)
            completion = await caller.completion("a")
            assert isinstance(completion, Failed)
            assert (completion.problem.title, completion.problem.retryable) == ("The service stopped", True)


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_completions_outlive_an_outage_of_the_broker_and_stop_no_work(tmp_path: Path) -> None:
    config = BrokerConfig(port=_free_port(), data_dir=tmp_path)
    broker = f"127.0.0.1:{config.port}"
    with running_broker(config):
        transport = PubSubTransport(emulator_host=broker)
        await transport.create_topic(TOPIC)
        await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
        await transport.aclose()
    with serving(broker) as service:
        async with AsyncClient(base_url=service.url) as http:
            for number in range(8):
                assert (await http.post(f"/echo?correlid=call-{number}")).status_code == 202
            service.wait_for_log("its completion is not published yet")
            for number in range(8):
                service.wait_for_log(f"Call call-{number}: attempt 1 succeeded")
        with running_broker(config):
            async with calling(service, broker) as caller:
                for number in range(8):
                    assert isinstance(await caller.completion(f"call-{number}"), Succeeded)


def _refused(*arguments: str, cwd: Path = HERE, **environment: str) -> str:
    """Start a service that cannot be started; return the one line that it says."""
    done = subprocess.run(
        _command(*arguments),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if "TOPIC" not in k and "PROJECT" not in k} | environment,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workers"], "MODULE:SERVICE"),
        (["nowhere:service"], "no module 'nowhere'"),
        (["workers:nothing"], "found nothing"),
        (["workers:echo"], "found function"),
        (["workers:service"], "--topic"),
        (["workers:service", "--topic", "completions"], "project"),
        (["workers:service", "--topic", TOPIC, "--drain", "-1"], "drain"),
        (["workers:service", "--topic", TOPIC, "--port", "99999"], "--port"),
        (["workers:service", "--topic", TOPIC, "--host", "no.such.host.invalid"], "--host"),
        (["broken:service", "--topic", TOPIC], "at the top of a module"),
    ],
)
def test_service_that_cannot_be_served_is_one_clear_error(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    cwd = HERE
    if arguments[0].startswith("broken"):
        cwd = tmp_path
        (cwd / "broken.py").write_text(
            "import longcall.service as sdk\n"
            "service = sdk.Service('s')\n"
            "service.handler('/h')(lambda _: None)\n"
        )
    error = _refused(*arguments, cwd=cwd)
    assert said in error
    assert len(error.splitlines()) == 1, error


def test_port_in_use_is_one_clear_error() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        error = _refused("workers:service", "--topic", TOPIC, "--port", str(other.getsockname()[1]))
    assert "in use; choose another" in error
    assert len(error.splitlines()) == 1, error


def test_port_variable_that_is_no_number_is_named_as_such() -> None:
    assert "--port" in _refused("workers:service", "--topic", TOPIC, PORT="http")
