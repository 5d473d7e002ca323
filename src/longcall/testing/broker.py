"""A broker for the length of a test, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from longcall._core.clock import Clock
from longcall.broker import Broker, BrokerConfig

__all__ = ["running_broker"]


@contextmanager
def running_broker(config: BrokerConfig | None = None, *, clock: Clock | None = None) -> Iterator[str]:
    """Run a broker on an event loop of its own; yield its `host:port`.

    Nothing is set in the environment: give the address to the client, or set PUBSUB_EMULATOR_HOST.
    """
    address: Future[str] = Future()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        try:
            async with Broker(config, clock=clock) as broker:
                address.set_result(broker.address)
                await ended.wait()
        except BaseException as error:
            if not address.done():
                address.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="longcall-test-broker")
    thread.start()
    try:
        yield address.result()
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
