"""A process that waits for many calls in one shared inbox, as a triggerer does.

    python waiting.py BROKER INBOX NAME CALLS

Prints `ready`; then, when all its calls `INBOX.NAME-0`, `INBOX.NAME-1`, … have ended, one JSON object: the
result that each has got, and how many messages were delivered for that.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from longcall.client import Router, completion_result
from longcall.transport import Delivery, InboxStream
from longcall.transport.pubsub import PubSubTransport


class CountingStream:
    """A stream, and how much it has delivered."""

    def __init__(self, stream: InboxStream, transport: CountingTransport) -> None:
        self._stream = stream
        self._transport = transport

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        delivery = await anext(aiter(self._stream))
        self._transport.delivered += 1
        return delivery


class CountingTransport(PubSubTransport):
    """Google Pub/Sub, counting deliveries."""

    delivered = 0

    @asynccontextmanager
    async def open_stream(self, inbox: str, *, lease_s: float) -> AsyncIterator[InboxStream]:
        """Open a streaming pull."""
        async with super().open_stream(inbox, lease_s=lease_s) as stream:
            yield CountingStream(stream, self)


async def wait(router: Router, correlation_id: str, *, inbox: str, waits: asyncio.Semaphore) -> object:
    async with router.subscribe(correlation_id, inbox=inbox) as arrivals:
        waits.release()
        arrival = await anext(arrivals)
        await arrival.acknowledge()
        return completion_result(arrival.report)


async def main(broker: str, inbox: str, name: str, calls: int) -> None:
    transport = CountingTransport(emulator_host=broker)
    router = Router(transport)
    waits = asyncio.Semaphore(0)
    ids = [f"{inbox.rpartition('/')[2]}.{name}-{n}" for n in range(calls)]
    tasks = [asyncio.create_task(wait(router, each, inbox=inbox, waits=waits)) for each in ids]
    for _ in ids:
        await waits.acquire()
    print("ready", flush=True)
    results = await asyncio.gather(*tasks)
    print(
        json.dumps({"results": dict(zip(ids, results, strict=True)), "delivered": transport.delivered}),
        flush=True,
    )
    await router.aclose()
    await transport.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
