"""The router: one per process and event loop, shared by everybody who waits for a report.

It holds one stream for each distinct inbox, from the first waiter to the last,
and a table from correlation id to waiter. A completion stays leased until its
waiter says that what it caused is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from longcall._core.clock import Clock, SystemClock
from longcall._core.errors import LongcallError
from longcall.client._dead_letter import SetAside
from longcall.client._feed import Feed
from longcall.client._routing import Handed
from longcall.client.config import RouterConfig
from longcall.contract import Message, Report, is_completion
from longcall.transport.errors import TransportRefused, TransportUnavailable
from longcall.transport.port import Transport

__all__ = ["Arrival", "Arrivals", "Router", "SetAside"]

_MAX_QUEUED: Final = 1000
"""Reports that a waiter has not looked at; beyond that, progress and its like are old news."""


class Arrival:
    """A report that has arrived for its waiter.

    Attributes:
        report: what is said of the call.
        message: as it was on the wire.
    """

    def __init__(self, feed: Feed, handed: Handed) -> None:
        self._feed = feed
        self._handed = handed
        self.report: Report = handed.report
        self.message: Message = handed.message

    async def acknowledge(self) -> None:
        """Say that what this report caused is durable; it is deleted from the inbox. A repeat does nothing.

        To be called before the `subscribe` that it came from is left, which gives it back.

        Raises:
            TransportError: it may be delivered again.
        """
        await self._feed.acknowledge(self._handed)


class Arrivals:
    """The reports of one call, in the order of their arrival, each once."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._queue: asyncio.Queue[Handed | LongcallError] = asyncio.Queue()

    def hand(self, handed: Handed) -> None:
        """Take a report from the router."""
        if self._queue.qsize() < _MAX_QUEUED or is_completion(handed.report.body):
            self._queue.put_nowait(handed)

    def end(self, error: LongcallError) -> None:
        """Take the news that nothing more will come."""
        self._queue.put_nowait(error)

    def __aiter__(self) -> AsyncIterator[Arrival]:
        """Yield reports as they arrive, without end."""
        return self

    async def __anext__(self) -> Arrival:
        """Wait for the next report; cancelling stops this wait alone.

        Raises:
            InboxNotFound: the inbox is gone.
            TransportError: it cannot be read, and trying again will not help.
        """
        item = await self._queue.get()
        if isinstance(item, LongcallError):
            self._queue.put_nowait(item)  # nothing comes after it, however often it is asked for
            raise item
        return Arrival(self._feed, item)


class Router:
    """Leads each report to who waits for its correlation id. The caller closes it, before the transport."""

    def __init__(
        self,
        transport: Transport,
        *,
        config: RouterConfig | None = None,
        clock: Clock | None = None,
        on_set_aside: Callable[[SetAside], None] = lambda _: None,
    ) -> None:
        """Read nothing yet.

        Args:
            transport: what inboxes are read through.
            config: how patient it is.
            clock: the clocks to go by.
            on_set_aside: told of each completion that nobody claims; for metrics.
        """
        self._transport = transport
        self._on_set_aside = on_set_aside
        self._config = config or RouterConfig()
        self._clock = clock or SystemClock()
        self._feeds: dict[str, Feed] = {}
        self._closed = False

    @asynccontextmanager
    async def subscribe(
        self, correlation_id: str, *, inbox: str, has_own_topic: bool = False
    ) -> AsyncIterator[Arrivals]:
        """Receive the reports of one call, those included that came before and nobody acknowledged.

        Leaving gives back what was not acknowledged, for the next who waits. Two waits for one id both
        receive every report.

        Args:
            correlation_id: the call.
            inbox: full path of where they arrive.
            has_own_topic: nothing else is published there: what has no correlation id is of this call.

        Raises:
            TransportRefused: the router was closed.
        """
        feed = self._feed(inbox, correlation_id if has_own_topic else "")
        arrivals = Arrivals(feed)
        feed.add(correlation_id, arrivals)
        try:
            yield arrivals
        finally:
            feed.remove(correlation_id, arrivals)
            if not feed.has_waiters:
                if self._feeds.get(inbox) is feed:
                    del self._feeds[inbox]
                await feed.aclose()

    async def tick(self) -> None:
        """Do at once what is due by the clock; for a clock that is moved by hand."""
        for feed in list(self._feeds.values()):
            await feed.tick()

    async def aclose(self) -> None:
        """End every wait with `TransportUnavailable`, give back what is held, close every stream.

        A repeat does nothing; a new wait is refused.
        """
        self._closed = True
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            feed.end(TransportUnavailable("the router was closed"))
        await asyncio.gather(*(feed.aclose() for feed in feeds))

    def _feed(self, inbox: str, owner: str) -> Feed:
        if self._closed:
            raise TransportRefused("the router was closed: make another", resource=inbox)
        feed = self._feeds.get(inbox)
        if feed is None or feed.ended is not None:  # an inbox that was gone may have been made again
            feed = self._feeds[inbox] = Feed(
                inbox,
                self._transport,
                self._config,
                self._clock,
                owner=owner,
                on_set_aside=self._on_set_aside,
            )
        return feed
