"""A broker for the length of a test, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager

from longcall._core.clock import Clock
from longcall.broker import Broker, BrokerConfig
from longcall.testing.clock import VirtualClock

__all__ = ["running_broker", "started_broker"]


@contextmanager
def running_broker(config: BrokerConfig | None = None, *, clock: Clock | None = None) -> Iterator[str]:
    """Run a broker on an event loop of its own; yield its `host:port`.

    Nothing is set in the environment: give the address to the client, or set PUBSUB_EMULATOR_HOST.

    Args:
        config: by default any free port, nothing kept.
        clock: with a `VirtualClock`, leases, expirations and retention end when it is advanced past them.
    """
    with started_broker(config, clock=clock) as broker:
        yield broker.address


@contextmanager
def started_broker(config: BrokerConfig | None = None, *, clock: Clock | None = None) -> Iterator[Broker]:
    """As `running_broker`, but yield the broker, for all its addresses. Its methods are not to be called."""
    started: Future[Broker] = Future()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        try:
            async with Broker(config, clock=clock) as broker:
                started.set_result(broker)
                await ended.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def tick() -> None:
        asyncio.run_coroutine_threadsafe(started.result().tick(), loop).result()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="longcall-test-broker")
    thread.start()
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, ended.set)
        broker = started.result()
        if isinstance(clock, VirtualClock):
            stack.enter_context(clock.listening(tick))
        yield broker
