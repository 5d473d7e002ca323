"""A service of the SDK whose completions say when they were handed to Pub/Sub.

python bench_service.py PORT TOPIC
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

import uvicorn
from schedule import turn

from longcall.contract import JsonValue, Message
from longcall.service import Call, Service, ServiceConfig
from longcall.transport.pubsub import PubSubTransport

PUBLISHED = "bench-published"
"""The attribute that holds the instant, in seconds since the epoch."""

service = Service("bench")


class StampingTransport(PubSubTransport):
    """Google Pub/Sub, with the instant before each request in the message."""

    async def publish(self, topic: str, message: Message) -> str:
        """Publish."""
        stamped = {**message.attributes, PUBLISHED: repr(time.time())}
        return await super().publish(topic, replace(message, attributes=stamped))


@service.handler("/answer")
async def answer(call: Call) -> JsonValue:
    """Work until it is this call's turn."""
    arguments = call.arguments
    assert isinstance(arguments, dict)
    await turn(int(str(arguments["n"])))
    return None


if __name__ == "__main__":
    port, topic = sys.argv[1:]
    application = service.asgi(
        ServiceConfig(topic=topic, store="memory", max_tasks=10_000),
        transport=StampingTransport.from_env(os.environ),
    )
    uvicorn.run(application, port=int(port), log_level="warning", loop="asyncio")
