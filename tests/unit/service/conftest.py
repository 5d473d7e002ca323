"""A service in the test's own event loop: asked over ASGI, heard through the transport's double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette

from longcall._core.clock import Clock
from longcall.contract import Completion, JsonValue, Report, decode_report, is_completion
from longcall.service import Service, ServiceConfig
from longcall.service.running import Running
from longcall.transport import InboxSpec, InboxStream
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/everything"


@dataclass(kw_only=True)
class Desk:
    """A running service, as its callers see it."""

    app: Starlette
    http: AsyncClient
    backend: MemoryBackend
    stream: InboxStream
    heard: list[Report] = field(default_factory=list)

    @property
    def running(self) -> Running:
        running = self.app.state.running
        assert isinstance(running, Running)
        return running

    async def start(self, path: str, correlation_id: str, *, body: JsonValue = None) -> Response:
        return await self.http.post(f"{path}?correlid={correlation_id}", json=body)

    async def reports(self, correlation_id: str) -> list[Report]:
        """Wait for a call's completion; return all its reports, in the order in which they came."""
        while not any(is_completion(report.body) for report in self._of(correlation_id)):
            await self.hear()
        return self._of(correlation_id)

    async def hear(self) -> None:
        """Wait for one more report of any call."""
        report = decode_report((await anext(aiter(self.stream))).message)
        assert report is not None
        self.heard.append(report)

    async def completion(self, correlation_id: str) -> Completion:
        body = (await self.reports(correlation_id))[-1].body
        assert is_completion(body)
        return body  # type: ignore[return-value]

    def _of(self, correlation_id: str) -> list[Report]:
        return [report for report in self.heard if report.correlation_id == correlation_id]


OpenDesk = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
def open_desk() -> OpenDesk:
    """Run a service; the keyword arguments are settings of its `ServiceConfig`."""

    @asynccontextmanager
    async def running(
        service: Service, *, clock: Clock | None = None, **settings: float
    ) -> AsyncIterator[Desk]:
        backend = MemoryBackend()
        transport = MemoryTransport(backend)
        await transport.create_topic(TOPIC)
        await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
        config = ServiceConfig(topic=TOPIC, **({"store": "memory", "drain_s": 0} | settings))  # type: ignore[arg-type]
        app = service.asgi(config, transport=transport, clock=clock)
        async with (
            transport.open_stream(INBOX, lease_s=600) as stream,
            app.router.lifespan_context(app),
            AsyncClient(transport=ASGITransport(app=app), base_url="http://service") as http,
        ):
            yield Desk(app=app, http=http, backend=backend, stream=stream)
        await transport.aclose()

    return running
