"""A service of the SDK whose results say when its work has ended.

python bench_service.py PORT TOPIC
"""

from __future__ import annotations

import os
import sys
import time

import uvicorn
from schedule import turn

from longcall.contract import JsonValue
from longcall.service import Call, Service, ServiceConfig
from longcall.transport.pubsub import PubSubTransport

service = Service("bench")


@service.handler("/answer")
async def answer(call: Call) -> JsonValue:
    """Work until it is this call's turn; the result is the instant, in seconds since the epoch."""
    arguments = call.arguments
    assert isinstance(arguments, dict)
    await turn(int(str(arguments["n"])))
    return time.time()


if __name__ == "__main__":
    port, topic = sys.argv[1:]
    application = service.asgi(
        ServiceConfig(topic=topic, store="memory", max_tasks=10_000),
        transport=PubSubTransport.from_env(os.environ),
    )
    uvicorn.run(application, port=int(port), log_level="warning", loop="asyncio")
