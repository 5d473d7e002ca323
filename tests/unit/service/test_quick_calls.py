"""A handler that reports progress with its last breath ends as surely as any other."""

from __future__ import annotations

import asyncio

import httpx2

from longcall.contract import JsonValue, Message
from longcall.service import Call, Service, ServiceConfig
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/reports"
service = Service("quick")


@service.handler("/quick")
async def quick(call: Call) -> JsonValue:
    await asyncio.sleep(0)
    call.progress(1, 1)
    return None


async def test_calls_that_end_right_after_their_progress_all_end() -> None:
    transport = MemoryTransport(MemoryBackend())
    await transport.create_topic(TOPIC)
    completed: set[str] = set()
    all_ended = asyncio.Event()
    publish = transport.publish

    async def watched(topic: str, message: Message) -> str:
        if message.attributes["ce-type"] == "longcall.call.succeeded.v1":
            completed.add(message.attributes["correlid"])
            if len(completed) == 200:
                all_ended.set()
        return await publish(topic, message)

    transport.publish = watched  # type: ignore[method-assign] # a look at what passes through
    app = service.asgi(
        ServiceConfig(topic=TOPIC, store="memory", progress_interval_s=0.001), transport=transport
    )
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service") as http,
    ):
        for number in range(200):
            await http.post(f"/quick?correlid=call-{number}")
        async with asyncio.timeout(60):
            await all_ended.wait()
