"""A service in the test's own process: no broker, no port, no waiting for hours."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from httpx2 import ASGITransport, AsyncClient, Response

from longcall._core.clock import ShiftedClock, SystemClock
from longcall._core.errors import LongcallError
from longcall.contract import (
    CallStatus,
    Cancelled,
    Completion,
    Failed,
    JsonValue,
    Log,
    LogLine,
    Problem,
    Progress,
    Report,
    Succeeded,
    decode_report,
    is_completion,
)
from longcall.service import CallFailed, Service, ServiceConfig
from longcall.service.application import make_application
from longcall.testing._handlers import in_this_process
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryBackend, MemoryTransport

__all__ = ["RequestRefused", "ServiceClient", "StartedCall"]

_TOPIC: Final = "projects/test/topics/completions"
_INBOX: Final = "projects/test/subscriptions/everything"
_LEASE_S: Final = 600.0
T = TypeVar("T")


class RequestRefused(LongcallError):
    """The service did not take the call on.

    Attributes:
        status: of the HTTP answer.
        problem: what it says.
    """

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem


class ServiceClient:
    """Calls the handlers of a service, over its real HTTP face, store and outbox, all in memory.

    Synchronous handlers run in a thread of the test's process and not in a process of their own, so that
    a debugger, `monkeypatch` and coverage see them. Time passes as always, and `advance` lets hours pass
    at once.

        with ServiceClient(service) as client:
            assert client.call("/train", {"model": "svc"}) == {"accuracy": 0.97}

    Args:
        service: whose handlers to call.
        timeout_s: how long to wait for anything, in seconds of real time.
        **settings: of its `ServiceConfig`.
    """

    def __init__(self, service: Service, *, timeout_s: float = 30.0, **settings: Any) -> None:
        self._service = service
        self._timeout_s = timeout_s
        given: dict[str, Any] = {"topic": _TOPIC, "store": "memory", "drain_s": 0.0, **settings}
        self._config = ServiceConfig(**given)
        self._clock = ShiftedClock(SystemClock())
        self._runner = asyncio.Runner(loop_factory=_ShiftedLoop)
        self._resources = AsyncExitStack()
        self._heard: list[Report] = []

    def __enter__(self) -> Self:
        """Start the service."""
        self._run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; calls that still run are stopped, too."""
        try:
            self._run(self._resources.aclose())
        finally:
            self._runner.close()

    def call(self, path: str, arguments: JsonValue = None, **request: Any) -> JsonValue | bytes:
        """Start a call, wait for its end, and return its result; see `start` and `StartedCall.result`."""
        return self.start(path, arguments, **request).result()

    def start(
        self,
        path: str,
        arguments: JsonValue = None,
        *,
        correlation_id: str = "",
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> StartedCall:
        """Start a call.

        Args:
            path: of the handler.
            arguments: the body, as JSON.
            correlation_id: empty: a new one.
            body: in the place of `arguments`.
            content_type: of the body.

        Raises:
            RequestRefused: the service did not take it on.
        """
        name = correlation_id or f"test-{secrets.token_hex(8)}"
        content = json.dumps(arguments).encode() if body is None else body
        headers = {"Content-Type": content_type, "Idempotency-Key": name}
        answer = self.request("POST", f"{path}?correlid={name}", content=content, headers=headers)
        if answer.status_code not in {200, 202}:
            raise RequestRefused(answer.status_code, Problem.from_wire(answer.json()))
        return StartedCall(self, name, answer.headers["location"])

    def request(self, method: str, url: str, **request: Any) -> Response:
        """Send any HTTP request to the service."""
        return self._run(self._http.request(method, url, **request))

    def advance(self, seconds: float) -> None:
        """Let time pass for the service and its asynchronous handlers, and do what becomes due.

        A synchronous handler's `time.sleep` is not shortened.
        """
        self._clock.advance(seconds)
        cast("_ShiftedLoop", self._runner.get_loop()).ahead_s += seconds
        self._run(_turns())

    def reports(self, correlation_id: str) -> list[Report]:
        """Return what the service has published of a call so far, in order."""
        self._run(_turns())
        return [report for report in self._heard if report.correlation_id == correlation_id]

    def wait_for_completion(self, correlation_id: str) -> Completion:
        """Wait for a call's end.

        Raises:
            TimeoutError: it does not come in `timeout_s`.
        """
        return self._run(self._completion(correlation_id))

    async def _open(self) -> None:
        backend = MemoryBackend()
        transport = MemoryTransport(backend)
        self._resources.push_async_callback(transport.aclose)
        await transport.create_topic(_TOPIC)
        await transport.create_inbox(InboxSpec(name=_INBOX, topic=_TOPIC, filter=""))
        app = make_application(
            {path: in_this_process(spec) for path, spec in self._service.specs.items()},
            config=self._config,
            name=self._service.name,
            source=self._service.source,
            transport=transport,
            store=None,
            clock=self._clock,
        )
        stream = await self._resources.enter_async_context(transport.open_stream(_INBOX, lease_s=_LEASE_S))
        await self._resources.enter_async_context(app.router.lifespan_context(app))
        self._http = await self._resources.enter_async_context(
            AsyncClient(transport=ASGITransport(app=app), base_url="http://service")
        )
        self._news = asyncio.Condition()

        async def hear() -> None:
            async for delivery in stream:
                report = decode_report(delivery.message)
                if report is not None:
                    async with self._news:
                        self._heard.append(report)
                        self._news.notify_all()

        hearing = asyncio.create_task(hear())
        self._resources.push_async_callback(_ended, hearing)

    async def _completion(self, correlation_id: str) -> Completion:
        async with self._news:
            while True:
                for report in self._heard:
                    if report.correlation_id == correlation_id and is_completion(report.body):
                        return cast("Completion", report.body)
                await self._news.wait()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the service work until `work` is done, for `timeout_s` of real time at most."""

        async def bounded() -> T:
            task = asyncio.ensure_future(work)
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
            if not done:
                task.cancel()
                raise TimeoutError(f"it did not happen in {self._timeout_s:g} s")
            return task.result()

        return self._runner.run(bounded())


class StartedCall:
    """A call that a service has taken on.

    Attributes:
        id: its correlation id.
        location: path of its status resource.
    """

    def __init__(self, client: ServiceClient, correlation_id: str, location: str) -> None:
        self.id = correlation_id
        self.location = location
        self._client = client

    def result(self) -> JsonValue | bytes:
        """Wait for the end, and return the result.

        Raises:
            CallFailed: the work has failed; `problem` says how.
            asyncio.CancelledError: it was cancelled.
            TimeoutError: it does not end.
        """
        match self.completion():
            case Succeeded() as succeeded:
                return succeeded.value()
            case Failed(problem=problem):
                raise CallFailed.of(problem)
            case Cancelled(detail=detail):
                raise asyncio.CancelledError(detail)

    def completion(self) -> Completion:
        """Wait for the end, and return it as it was published."""
        return self._client.wait_for_completion(self.id)

    def progress(self) -> list[Progress]:
        """Return the progress that was published so far."""
        return [report.body for report in self._client.reports(self.id) if isinstance(report.body, Progress)]

    def log(self) -> list[LogLine]:
        """Return the log lines that were published so far."""
        logs = [report.body for report in self._client.reports(self.id) if isinstance(report.body, Log)]
        return [line for log in logs for line in log.lines]

    def status(self) -> CallStatus:
        """Return what the status resource says now."""
        return CallStatus.from_wire(self._client.request("GET", self.location).json())

    def cancel(self) -> None:
        """Ask for its cancellation."""
        self._client.request("DELETE", self.location)


class _ShiftedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be set forward."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


async def _turns() -> None:
    """Let everything happen that can happen now."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    await asyncio.sleep(_SHORT_S)


_TURNS: Final = 20
_SHORT_S: Final = 0.01


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    waiting: Awaitable[Any] = asyncio.wait({task})
    await waiting
