"""`longcall serve` as a process, and somebody who calls it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from httpx2 import AsyncClient
from tests.e2e.processes import WAIT_S

from longcall.contract import (
    Cancelled,
    Completion,
    Failed,
    Progress,
    Report,
    Succeeded,
    decode_report,
    is_completion,
)
from longcall.transport import InboxSpec, InboxStream
from longcall.transport.pubsub import PubSubTransport

HERE = Path(__file__).parent
TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/inbox"


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "longcall.cli.main", "serve", *arguments]


def longcall(command: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "longcall.cli.main", command, "--topic", TOPIC, *options]


class Process:
    """A running service."""

    def __init__(self, broker: str, *arguments: str, target: str | None = "workers:service") -> None:
        self.popen = subprocess.Popen(
            serve_command(*([target] if target else []), "--port", "0", "--topic", TOPIC, *arguments),
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
def serving(broker: str, *arguments: str, target: str | None = "workers:service") -> Iterator[Process]:
    process = Process(broker, *arguments, target=target)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.end(signal.SIGKILL)


@contextmanager
def working(broker: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `longcall worker`."""
    process = subprocess.Popen(
        longcall("worker", *arguments),
        cwd=HERE,
        env={**os.environ, "PUBSUB_EMULATOR_HOST": broker},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Working on /")
        yield process
    finally:
        process.kill()
        process.communicate()


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
