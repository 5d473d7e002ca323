"""A router on the memory transport, and somebody who publishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count

import pytest

from longcall.client import Arrival, Arrivals, Router
from longcall.contract import Message, Report, ReportBody, Succeeded, encode_report
from longcall.testing.clock import VirtualClock
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/reports"
INBOX = "projects/p/subscriptions/reports"
WAIT_S = 30.0
LOOKS = 100


@dataclass
class World:
    """One shared inbox, a router that reads it, and a service that publishes."""

    clock: VirtualClock
    backend: MemoryBackend
    transport: MemoryTransport
    router: Router
    inbox: str = INBOX

    def report(self, correlation_id: str, body: ReportBody | None = None, *, id: str) -> Message:
        body = Succeeded.of("done") if body is None else body
        return encode_report(Report(correlation_id=correlation_id, body=body, id=id, source="/services/s"))

    async def publish(self, correlation_id: str, body: ReportBody | None = None, *, id: str = "1") -> None:
        await self.transport.publish(TOPIC, self.report(correlation_id, body, id=id))

    async def publish_raw(self, **attributes: str) -> None:
        await self.transport.publish(TOPIC, Message(data=b"secret", attributes=attributes))

    async def next(self, arrivals: Arrivals) -> Arrival:
        return await asyncio.wait_for(anext(aiter(arrivals)), WAIT_S)

    async def settle(self) -> None:
        """Let everything that is ready run; nothing in memory needs longer."""
        for _ in range(LOOKS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.router.tick()
        await self.settle()

    async def ready(self) -> list[str]:
        """What another process would be delivered now, by id of the report."""
        found = []
        other = MemoryTransport(self.backend)
        async with other.open_stream(INBOX, lease_s=10.0) as stream:
            for _ in count():
                task = asyncio.ensure_future(anext(aiter(stream)))
                await self.settle()
                if not task.done():
                    task.cancel()
                    break
                found.append(task.result())
        await other.release(INBOX, [each.ack_id for each in found])
        return sorted(each.message.attributes.get("ce-id", "") for each in found)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = VirtualClock()
    backend = MemoryBackend(clock=clock)
    transport = MemoryTransport(backend)
    await transport.create_topic(TOPIC)
    await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter="", expires_after_s=None))
    router = Router(transport, clock=clock)
    with clock.listening(backend.tick):
        yield World(clock, backend, transport, router)
    await router.aclose()
    await transport.aclose()
    assert {task for task in asyncio.all_tasks() if task.get_name().startswith("longcall ")} == set()
