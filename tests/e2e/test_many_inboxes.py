"""A thousand inboxes read at once: Google closes a connection to new streams at about a hundred."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack

import psutil

from longcall.client import Router
from longcall.contract import Message, correlation_filter
from longcall.testing import running_broker
from longcall.transport import InboxSpec
from longcall.transport.pubsub import PubSubTransport

INBOXES = 1000
STREAMS_PER_CONNECTION = 100
OTHER_CONNECTIONS = 2
TOPIC = "projects/p/topics/reports"
WAIT_S = 30.0


def connections_to(host: str) -> int:
    """How many connections this process has opened to the broker."""
    port = int(host.rpartition(":")[2])
    open_ones = psutil.Process().net_connections("tcp")
    return sum(
        bool(each.raddr) and each.raddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in open_ones
    )


async def create(transport: PubSubTransport, number: int) -> tuple[str, str]:
    correlation_id, name = f"lc-{number}", f"projects/p/subscriptions/lc-{number}"
    await transport.create_inbox(InboxSpec(name=name, topic=TOPIC, filter=correlation_filter(correlation_id)))
    return correlation_id, name


async def test_thousand_inboxes_share_few_connections_which_close_when_unused() -> None:
    with running_broker() as host:
        transport = PubSubTransport(emulator_host=host)
        await transport.create_topic(TOPIC)
        router = Router(transport)
        inboxes = [await create(transport, number) for number in range(INBOXES)]
        async with AsyncExitStack() as waits, asyncio.timeout(WAIT_S):
            arrivals = [
                await waits.enter_async_context(router.subscribe(correlation_id, inbox=name))
                for correlation_id, name in inboxes
            ]
            for correlation_id, _name in inboxes:
                await transport.publish(TOPIC, Message(data=b"1", attributes={"correlid": correlation_id}))
            received = [await anext(each) for each in arrivals]
            at_once = connections_to(host)
        async with asyncio.timeout(WAIT_S):
            while connections_to(host) > OTHER_CONNECTIONS + 1:
                gc.collect()  # gRPC closes the socket of a closed channel when Python has collected it
                await asyncio.sleep(0.1)
        await router.aclose()
        await transport.aclose()

    assert [each.report.correlation_id for each in received] == [each for each, _name in inboxes]
    assert at_once >= INBOXES / STREAMS_PER_CONNECTION + OTHER_CONNECTIONS
    assert at_once <= 2 * INBOXES / STREAMS_PER_CONNECTION
