"""What a run of work says before its completion: accepted, the latest progress, its log, a heartbeat.

Each is tried once: a progress report that failed is dropped, the next will say
more. Completions are the outbox's.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from longcall._core.clock import Clock
from longcall.contract import (
    Accepted,
    ContractError,
    Heartbeat,
    Log,
    Progress,
    Report,
    ReportBody,
    SigningKey,
    encode_report,
    sign,
)
from longcall.service.log_lines import LogBuffer
from longcall.service.observer import Observer, report_kind
from longcall.transport.errors import TransportError
from longcall.transport.port import Transport

__all__ = ["Pending", "Publisher", "RunReports", "checked_traceparent"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 32
_FLUSH_S: Final = 2.0
"""How long a completion waits for the last progress to go before it."""
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def checked_traceparent(traceparent: str) -> str:
    """Return it, or nothing if it is none, as W3C Trace Context has it."""
    return traceparent if _TRACEPARENT.fullmatch(traceparent) else ""


class Publisher:
    """Publishes reports, at most 32 at once: it takes no place where work could run."""

    def __init__(self, transport: Transport, *, source: str, topic: str, observer: Observer) -> None:
        """Publish as `source`, to `topic` unless a call names another. The caller closes the transport."""
        self._observer = observer
        self.source = source
        self._transport = transport
        self._topic = topic
        self._places = asyncio.Semaphore(_AT_ONCE)

    def topic_of(self, reply_topic: str) -> str:
        """Return where a call's reports go."""
        return reply_topic or self._topic

    async def publish(
        self, report: Report, *, reply_topic: str, signing_keys: Sequence[SigningKey] = ()
    ) -> None:
        """Publish a report, signed if there are keys.

        Raises:
            ContractError: no message can carry it.
            TransportError: it is not published.
        """
        kind = report_kind(report.body)
        try:
            message = sign(encode_report(report), signing_keys)
            async with self._places:
                await self._transport.publish(self.topic_of(reply_topic), message)
        except (ContractError, TransportError) as error:
            self._observer.publish_failed(kind, error)
            raise
        self._observer.published(kind)


@dataclass(slots=True)
class Pending:
    """The reports that one run still owes. Pure state."""

    accepted: Accepted | None = None
    progress: Progress | None = None
    heartbeat: Heartbeat | None = None
    log: LogBuffer = field(default_factory=LogBuffer)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, body: Accepted | Progress | Heartbeat | Log) -> None:
        """Add a report; a newer one takes the place of one of its kind that waits, log lines are gathered."""
        match body:
            case Accepted():
                self.accepted = body
            case Progress():
                self.progress = body
            case Heartbeat():
                self.heartbeat = body
            case Log(lines=lines):
                for line in lines:
                    self.log.put(line)
        self.changed.set()

    def take(self) -> ReportBody | None:
        """Take out the report that is next; None when nothing waits."""
        for name in ("accepted", "progress", "heartbeat"):
            body: ReportBody | None = getattr(self, name)
            if body is not None:
                setattr(self, name, None)
                return body
        if self.log:
            return Log(lines=tuple(self.log.take()))
        self.changed.clear()
        return None

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(bool, (self.accepted, self.progress, self.heartbeat, self.log)))


class RunReports:
    """The reports of one run, published in order, some time apart."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        correlation_id: str,
        attempt: int,
        reply_topic: str,
        signing_keys: Sequence[SigningKey],
        traceparent: str,
        clock: Clock,
        interval_s: float,
    ) -> None:
        """Begin to publish what is put in; `close` and `wait_until_sent` end it."""
        self._publisher = publisher
        self._correlation_id = correlation_id
        self._attempt = attempt
        self._reply_topic = reply_topic
        self._signing_keys = signing_keys
        self._traceparent = traceparent
        self._clock = clock
        self._interval_s = interval_s
        self._sequence = 0
        self._pending = Pending()
        self._is_closed = False
        self._task = asyncio.create_task(self._send_all())

    def put(self, body: Accepted | Progress | Heartbeat | Log) -> None:
        """Have a report published. After `close` it is dropped."""
        if not self._is_closed:
            self._pending.put(body)

    def close(self) -> int:
        """Take no more reports, and return the sequence of the completion that follows them."""
        self._is_closed = True
        self._pending.changed.set()
        return self._sequence + len(self._pending) + 1

    async def wait_until_sent(self) -> None:
        """Wait until what was put in is published or has failed, for two seconds at most."""
        await asyncio.wait({self._task}, timeout=_FLUSH_S)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _send_all(self) -> None:
        while True:
            await self._pending.changed.wait()
            body = self._pending.take()
            if body is not None:
                await self._send(body)
                await self._pause()
            elif self._is_closed:
                return

    async def _pause(self) -> None:
        """Leave some time between reports, but none once nothing more can come."""
        end_s = self._clock.monotonic_s() + self._interval_s
        while not self._is_closed and (left_s := end_s - self._clock.monotonic_s()) > 0:
            self._pending.changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._pending.changed.wait()
            except TimeoutError:
                break
        if self._is_closed or len(self._pending):
            self._pending.changed.set()

    async def _send(self, body: ReportBody) -> None:
        self._sequence += 1
        report = Report(
            correlation_id=self._correlation_id,
            body=body,
            id=f"{self._correlation_id}/{self._attempt}/{self._sequence}",
            source=self._publisher.source,
            time=self._clock.now(),
            attempt=self._attempt,
            sequence=self._sequence,
            traceparent=self._traceparent,
        )
        try:
            await self._publisher.publish(
                report, reply_topic=self._reply_topic, signing_keys=self._signing_keys
            )
        except ContractError as error:
            log.error("Call %s: a report cannot be published: %s", self._correlation_id, error)
        except Exception as error:  # the consumer loop's border: the completion will say more
            log.debug("Call %s: a report was not published: %s", self._correlation_id, error)
