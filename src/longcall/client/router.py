"""The router: one per process and event loop, shared by everybody who waits for a report.

It holds one stream for each distinct inbox, from the first waiter to the last,
and a table from correlation id to waiter. A completion stays leased until its
waiter says that what it caused is durable.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from longcall._core.clock import Clock, SystemClock
from longcall._core.errors import LongcallError
from longcall.client._routing import Handed, RoutingTable, Unclaimed
from longcall.contract import MalformedReport, Message, Report, decode_report, is_completion
from longcall.transport.errors import InboxNotFound, TransportError, TransportUnavailable
from longcall.transport.port import Delivery, Transport

__all__ = ["Arrival", "Arrivals", "Router", "RouterConfig"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """How patient the router is.

    Attributes:
        lease: for how long a delivered report is leased at a time, 10 to 600 s; renewed while it is held.
        unclaimed_hold: how long a report that nobody waits for is kept, for a waiter about to register.
        unclaimed_backoff: for how long it then is left alone, so that another process may have it.
        max_unclaimed: of them at most so many are kept at once.
        reconnect_min: pause before the first attempt to reconnect; doubles, with jitter.
        reconnect_max: the longest pause.
    """

    lease: timedelta = timedelta(seconds=60)
    unclaimed_hold: timedelta = timedelta(seconds=5)
    unclaimed_backoff: timedelta = timedelta(seconds=10)
    max_unclaimed: int = 10_000
    reconnect_min: timedelta = timedelta(milliseconds=100)
    reconnect_max: timedelta = timedelta(seconds=30)


class Arrival:
    """A report that has arrived for its waiter.

    Attributes:
        report: what is said of the call.
        message: as it was on the wire.
    """

    def __init__(self, feed: _Feed, handed: Handed) -> None:
        self._feed = feed
        self._handed = handed
        self.report: Report = handed.report
        self.message: Message = handed.message

    async def acknowledge(self) -> None:
        """Say that what this report caused is durable; it is deleted from the inbox. A repeat does nothing.

        Raises:
            TransportError: it may be delivered again.
        """
        await self._feed.acknowledge(self._handed)


class Arrivals:
    """The reports of one call, in the order of their arrival, each once."""

    def __init__(self, feed: _Feed) -> None:
        self._feed = feed
        self._queue: asyncio.Queue[Handed | LongcallError] = asyncio.Queue()

    def hand(self, handed: Handed) -> None:
        """Take a report from the router."""
        self._queue.put_nowait(handed)

    def end(self, error: LongcallError) -> None:
        """Take the news that nothing more will come."""
        self._queue.put_nowait(error)

    async def __aiter__(self) -> AsyncIterator[Arrival]:
        """Yield reports as they arrive, without end; cancelling stops the wait alone.

        Raises:
            InboxNotFound: the inbox is gone.
            TransportError: it cannot be read, and trying again will not help.
        """
        while True:
            item = await self._queue.get()
            if isinstance(item, LongcallError):
                raise item
            yield Arrival(self._feed, item)


class Router:
    """Leads each report to who waits for its correlation id. The caller closes it, before the transport."""

    def __init__(
        self, transport: Transport, *, config: RouterConfig | None = None, clock: Clock | None = None
    ) -> None:
        self._transport = transport
        self._config = config or RouterConfig()
        self._clock = clock or SystemClock()
        self._feeds: dict[str, _Feed] = {}

    @asynccontextmanager
    async def subscribe(self, correlation_id: str, *, inbox: str) -> AsyncIterator[Arrivals]:
        """Receive the reports of one call, those included that came before and nobody acknowledged.

        Leaving gives back what was not acknowledged, for the next who waits. Two waits for one id both
        receive every report.
        """
        feed = self._feeds.get(inbox)
        if feed is None:
            feed = self._feeds[inbox] = _Feed(inbox, self._transport, self._config, self._clock)
        arrivals = Arrivals(feed)
        feed.add(correlation_id, arrivals)
        try:
            yield arrivals
        finally:
            await feed.remove(correlation_id, arrivals)
            if not feed.table.has_waiters and self._feeds.get(inbox) is feed:
                del self._feeds[inbox]
                await feed.aclose()

    async def aclose(self) -> None:
        """End every wait with `TransportUnavailable` and close every stream. A repeat does nothing."""
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            feed.end(TransportUnavailable("the router was closed"))
            await feed.aclose()


class _Feed:
    """One inbox: its stream, its table, its leases. Owns two tasks, from the first waiter to `aclose`."""

    def __init__(self, inbox: str, transport: Transport, config: RouterConfig, clock: Clock) -> None:
        self.table = RoutingTable()
        self._inbox = inbox
        self._transport = transport
        self._config = config
        self._clock = clock
        self._warned: set[str] = set()
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._keep_leases())]

    def add(self, correlation_id: str, arrivals: Arrivals) -> None:
        due = self.table.add(correlation_id, arrivals)
        if due:
            self._tasks.append(asyncio.create_task(self._settle(due)))

    async def remove(self, correlation_id: str, arrivals: Arrivals) -> None:
        released = self.table.remove(correlation_id, arrivals)
        if released:
            # Their lease runs out by itself when this fails.
            with suppress(TransportError):
                await self._transport.release(self._inbox, released)

    async def acknowledge(self, handed: Handed) -> None:
        ack_id = self.table.acknowledged(handed)
        if ack_id is not None:
            await self._transport.acknowledge(self._inbox, [ack_id])

    def end(self, error: LongcallError) -> None:
        for waiter in self.table.waiters:
            assert isinstance(waiter, Arrivals)  # this feed registers no others
            waiter.end(error)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _receive(self) -> None:
        pause_s = self._config.reconnect_min.total_seconds()
        while True:
            try:
                async with self._transport.open_stream(
                    self._inbox, lease_s=self._config.lease.total_seconds()
                ) as stream:
                    async for delivery in stream:
                        pause_s = self._config.reconnect_min.total_seconds()
                        await self._take(delivery)
            except TransportUnavailable as error:
                log.info("Inbox %s: %s; connecting again in about %.1f s", self._inbox, error, pause_s)
            except TransportError as error:
                self.end(error)
                return
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 # jitter
            pause_s = min(2 * pause_s, self._config.reconnect_max.total_seconds())

    async def _take(self, delivery: Delivery) -> None:
        try:
            report = decode_report(delivery.message)
        except MalformedReport as error:
            log.warning(
                "Inbox %s: message %s is no report and was dropped: %s",
                self._inbox,
                delivery.message.message_id,
                error,
            )
            report = None
        if report is None:
            await self._settle([delivery.ack_id])
            return
        hold_s = self._config.unclaimed_hold.total_seconds()
        if self.table.unclaimed_count >= self._config.max_unclaimed:
            hold_s = 0.0
        due = self.table.route(report, delivery, now_s=self._clock.monotonic_s(), hold_s=hold_s)
        if due is not None:
            await self._settle([due])

    async def _settle(self, ack_ids: list[str]) -> None:
        # Not acknowledged, they come again and are dropped again.
        with suppress(TransportError):
            await self._transport.acknowledge(self._inbox, ack_ids)

    async def _keep_leases(self) -> None:
        lease_s = self._config.lease.total_seconds()
        tick_s = min(lease_s / 3, max(0.1, self._config.unclaimed_hold.total_seconds() / 2))
        extended_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(tick_s)
            now_s = self._clock.monotonic_s()
            with suppress(TransportUnavailable, InboxNotFound):
                await self._give_up(self.table.expire(now_s=now_s))
                if now_s - extended_s >= lease_s / 3:
                    extended_s = now_s
                    await self._extend(self.table.leased(), lease_s)

    async def _give_up(self, expired: list[Unclaimed]) -> None:
        """Leave what nobody has claimed to other processes, or drop it where nothing is lost with it."""
        for unclaimed in expired:
            name = unclaimed.report.correlation_id
            if is_completion(unclaimed.report.body) and name not in self._warned:
                self._warned.add(name)
                log.warning(
                    "Inbox %s: nobody here waits for call %s; its completion stays", self._inbox, name
                )
        dropped = [u.ack_id for u in expired if not is_completion(u.report.body)]
        if dropped:
            await self._transport.acknowledge(self._inbox, dropped)
        kept = [u.ack_id for u in expired if is_completion(u.report.body)]
        await self._extend(kept, self._config.unclaimed_backoff.total_seconds())

    async def _extend(self, ack_ids: list[str], lease_s: float) -> None:
        if ack_ids:
            await self._transport.extend(self._inbox, ack_ids, lease_s=lease_s)
