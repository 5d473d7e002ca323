"""One inbox as the router reads it: its stream, its table, its leases.

The rules are `_routing`'s; here are the tasks that carry them out. Up to three,
all owned by the feed: one reads the stream, one tells the message system what is
due, in batches, and one keeps leases, only while there are any.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Final

from longcall._core.clock import Clock
from longcall._core.errors import LongcallError
from longcall.client._acknowledging import Acknowledgements
from longcall.client._backoff import Backoff
from longcall.client._dead_letter import SetAside, dead_letter, is_dead_letter
from longcall.client._routing import Due, Handed, RoutingTable, Waiter
from longcall.client._unclaimed import GivenUp
from longcall.client.config import RouterConfig
from longcall.contract import CORRELATION_ATTRIBUTE, MalformedReport, decode_report
from longcall.transport.errors import TransportError, TransportUnavailable
from longcall.transport.port import Delivery, Transport

__all__ = ["Feed"]

log = logging.getLogger(__name__)

_CLOSE_S: Final = 10.0
_MAX_SAID: Final = 10_000


class Feed:
    """The reports of one inbox, from the first waiter to `aclose`."""

    def __init__(
        self,
        inbox: str,
        transport: Transport,
        config: RouterConfig,
        clock: Clock,
        *,
        owner: str = "",
        on_set_aside: Callable[[SetAside], None] = lambda _: None,
    ) -> None:
        """Begin to read; needs a running event loop.

        Args:
            inbox: full path.
            transport: where it is.
            config: how patient to be.
            clock: the clocks to go by.
            owner: the call that what has no correlation id is of; empty: of none.
            on_set_aside: told of each completion that nobody claims.
        """
        self._owner = owner
        self.ended: LongcallError | None = None
        self._inbox = inbox
        self._transport = transport
        self._clock = clock
        self._on_set_aside = on_set_aside
        self._dead_letter_topic = config.dead_letter_topic
        self._said: OrderedDict[str, None] = OrderedDict()
        self._lease_s = config.lease.total_seconds()
        self._backoff = Backoff(
            min_s=config.reconnect_min.total_seconds(), max_s=config.reconnect_max.total_seconds()
        )
        self._stable_s = config.reconnect_max.total_seconds()
        self._table = RoutingTable(config.hold_rules)
        self._acknowledgements = Acknowledgements(inbox, transport)
        self._due = Due()
        self._extended_s = 0.0
        self._wakes_s = 0.0
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        self._run("receive", self._receive())

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits."""
        return self._table.has_waiters

    def add(self, correlation_id: str, waiter: Waiter) -> None:
        """Register a waiter, which is handed what is held for it already."""
        self._settle(self._table.add(correlation_id, waiter))

    def remove(self, correlation_id: str, waiter: Waiter) -> None:
        """Forget a waiter and give back what nobody else holds; with the last one, `aclose` does."""
        due = self._table.remove(correlation_id, waiter)
        if self.has_waiters:
            self._settle(due)
        else:
            self._due.add(due)

    async def acknowledge(self, handed: Handed) -> None:
        """Acknowledge a report, and return when the message system knows it; a repeat does nothing.

        Raises:
            TransportError: it may be delivered again.
        """
        due = self._table.acknowledge(handed)
        if due:
            await self._acknowledgements.acknowledge(due.acknowledge)

    def end(self, error: LongcallError) -> None:
        """Tell everybody that nothing more will come."""
        self.ended = error
        for waiter in self._table.waiters:
            waiter.end(error)

    async def tick(self) -> None:
        """Do what is due by the clock: give up what nobody claimed, renew leases."""
        now_s = self._clock.monotonic_s()
        self._settle(self._table.expire(now_s=now_s))
        if self._table.has_leases and now_s - self._extended_s >= self._lease_s / 3:
            self._extended_s = now_s
            try:
                await self._transport.extend(self._inbox, self._table.leased(), lease_s=self._lease_s)
            except TransportError as error:
                log.info("Inbox %s: leases were not renewed, reports may come again: %s", self._inbox, error)

    async def aclose(self) -> None:
        """Give back everything that is held, and end every task of this feed. A repeat does nothing."""
        if self._closed:
            return
        try:
            # The stream first: what is given back while it is open may be delivered into it once more.
            await self._end(["receive", "keep"])
            await self._acknowledgements.aclose(timeout_s=_CLOSE_S)
            self._settle(Due(release=self._table.leased()))
            self._closed = True
            if "settle" in self._tasks:
                await asyncio.wait([self._tasks["settle"]], timeout=_CLOSE_S)
        finally:
            self._closed = True
            await self._end(list(self._tasks))
            self._tasks.clear()  # an ended task keeps what it used, its connection too

    async def _end(self, names: list[str]) -> None:
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._tasks[name] = asyncio.create_task(work, name=f"longcall {name} {self._inbox}")

    def _is_running(self, name: str) -> bool:
        return name in self._tasks and not self._tasks[name].done()

    async def _receive(self) -> None:
        while True:
            opened_s = self._clock.monotonic_s()
            try:
                async with self._transport.open_stream(self._inbox, lease_s=self._lease_s) as stream:
                    async for delivery in stream:
                        self._backoff.reset()
                        self._take(delivery)
                reason = "it was closed"
            except TransportError as error:
                if not error.retryable:
                    self.end(error)
                    return
                reason = str(error)
            except Exception as error:
                # The consumer loop's border: a fault here must end the waits, not leave them hanging.
                log.exception("Inbox %s: reading it has failed", self._inbox)
                self.end(TransportUnavailable(f"reading the inbox has failed: {error}", resource=self._inbox))
                return
            if self._clock.monotonic_s() - opened_s >= self._stable_s:
                self._backoff.reset()
            pause_s = self._backoff.pause_s()
            log.info("Inbox %s: %s; connecting again in %.1f s", self._inbox, reason, pause_s)
            await asyncio.sleep(pause_s)

    def _take(self, delivery: Delivery) -> None:
        if self._owner and CORRELATION_ATTRIBUTE not in delivery.message.attributes:
            attributes = {**delivery.message.attributes, CORRELATION_ATTRIBUTE: self._owner}
            delivery = replace(delivery, message=replace(delivery.message, attributes=attributes))
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
        if report is None:  # of no known type, or none at all
            self._settle(Due(acknowledge=[delivery.ack_id]))
            return
        published = delivery.message.publish_time
        age_s = (self._clock.now() - published).total_seconds() if published is not None else 0.0
        self._settle(self._table.route(report, delivery, now_s=self._clock.monotonic_s(), age_s=age_s))

    def _settle(self, due: Due) -> None:
        """Have the message system told, soon and together with what else is due by then."""
        if self._closed:
            return
        for report in due.abandoned:
            log.warning(
                "Inbox %s: nobody here waits for call %s; its completion stays in the inbox",
                self._inbox,
                report.correlation_id,
            )
        self._due.add(due)
        self._due.abandoned.clear()
        if self._due and not self._is_running("settle"):
            self._run("settle", self._settle_all())
        self._keep_time()

    async def _settle_all(self) -> None:
        while self._due:
            due, self._due = self._due, Due()
            # What the message system is not told comes again, and is settled then.
            if due.acknowledge:
                with suppress(TransportError):
                    await self._transport.acknowledge(self._inbox, due.acknowledge)
            if due.release:
                with suppress(TransportError):
                    await self._transport.release(self._inbox, due.release)
            for delay_s, ack_ids in due.put_off.items():
                with suppress(TransportError):
                    await self._transport.extend(self._inbox, ack_ids, lease_s=delay_s)
            for given_up in due.set_aside:
                await self._set_aside(given_up)

    async def _set_aside(self, given_up: GivenUp) -> None:
        """Publish it where an operator looks, or leave it and say so; it is not dropped on any path."""
        # Where services publish, it would come back for ever.
        topic = "" if is_dead_letter(given_up.message) else self._dead_letter_topic
        aside = SetAside(given_up.report, given_up.message, self._inbox, topic)
        try:
            if topic:
                await self._transport.publish(topic, dead_letter(aside, now=self._clock.now()))
                await self._transport.acknowledge(self._inbox, [given_up.ack_id])
        except TransportError as error:
            log.warning("%s; it stays: it could not be published there: %s", aside, error)
            topic = ""
        else:
            self._say(aside)
        if not topic:
            with suppress(TransportError):
                await self._transport.extend(self._inbox, [given_up.ack_id], lease_s=given_up.put_off_s)

    def _say(self, aside: SetAside) -> None:
        """Log and count it, once."""
        if aside.message.message_id in self._said:
            return
        self._said[aside.message.message_id] = None
        if len(self._said) > _MAX_SAID:
            self._said.popitem(last=False)
        log.warning("%s", aside)
        self._on_set_aside(aside)

    def _keep_time(self) -> None:
        if self._closed or not self._table.has_leases:
            return
        if not self._is_running("keep"):
            self._extended_s = self._clock.monotonic_s()
            self._run("keep", self._keep())
        elif self._next_tick_s() < self._wakes_s:
            self._changed.set()

    def _next_tick_s(self) -> float:
        renewal_s = self._extended_s + self._lease_s / 3
        due_s = self._table.next_due_s()
        return renewal_s if due_s is None else min(renewal_s, due_s)

    async def _keep(self) -> None:
        while self._table.has_leases:
            self._changed.clear()
            self._wakes_s = self._next_tick_s()
            pause_s = max(0.0, self._wakes_s - self._clock.monotonic_s())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):  # wait_for may swallow a cancellation before 3.12
                    await self._changed.wait()
            await self.tick()
