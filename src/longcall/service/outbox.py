"""What a call still has to publish, in order: accepted, the latest progress, a heartbeat, its completion.

One outbox a call. Publishing holds no place where work could run: an outage of
Pub/Sub delays reports and stops nothing. A completion is tried until it is
published; a progress report that failed is dropped, the next will say more.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field

from longcall._core.clock import Clock
from longcall.contract import (
    Accepted,
    Completion,
    ContractError,
    Failed,
    Heartbeat,
    Problem,
    Progress,
    Report,
    ReportBody,
    encode_report,
    is_completion,
)
from longcall.transport.errors import TransportError
from longcall.transport.port import Transport

__all__ = ["Outbox", "Publisher"]

log = logging.getLogger(__name__)

_RETRY_MIN_S = 0.2
_RETRY_MAX_S = 30.0
_AT_ONCE = 32


@dataclass(slots=True)
class Outbox:
    """The reports that one call still owes. Pure state; `Publisher` empties it."""

    accepted: Accepted | None = None
    progress: Progress | None = None
    heartbeat: Heartbeat | None = None
    completion: Completion | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, body: ReportBody) -> None:
        """Add a report; a newer progress takes the place of one that waits."""
        match body:
            case Accepted():
                self.accepted = body
            case Progress():
                self.progress = body
            case Heartbeat():
                self.heartbeat = body
            case _:
                self.completion = body
        self.changed.set()

    def take(self) -> ReportBody | None:
        """Take out the report that is next; None when nothing waits."""
        for name in ("accepted", "progress", "heartbeat", "completion"):
            body: ReportBody | None = getattr(self, name)
            if body is not None:
                setattr(self, name, None)
                return body
        self.changed.clear()
        return None


class Publisher:
    """Publishes the reports of many calls, in order within each, at most 32 at once."""

    def __init__(
        self, transport: Transport, *, source: str, clock: Clock, progress_interval_s: float
    ) -> None:
        self._transport = transport
        self._source = source
        self._clock = clock
        self._progress_interval_s = progress_interval_s
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, correlation_id: str, *, topic: str, traceparent: str) -> Outbox:
        """Return a new call's outbox; what is put in is published to `topic`."""
        outbox = Outbox()
        task = asyncio.create_task(self._empty(outbox, correlation_id, topic, traceparent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return outbox

    async def flush(self, timeout_s: float) -> int:
        """Wait until every completion is published, for `timeout_s` at most; return how many are not."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        return len(self._tasks)

    async def aclose(self) -> None:
        """Stop publishing. What is not published is lost with this process."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _empty(self, outbox: Outbox, correlation_id: str, topic: str, traceparent: str) -> None:
        """Publish what comes until the completion is out."""
        sequence = 0
        while True:
            await outbox.changed.wait()
            body = outbox.take()
            if body is None:
                continue
            sequence += 1
            report = Report(
                correlation_id=correlation_id,
                body=body,
                id=f"{correlation_id}/1/{sequence}",
                source=self._source,
                time=self._clock.now(),
                attempt=1,
                sequence=sequence,
                traceparent=traceparent,
            )
            await self._publish(topic, report)
            if is_completion(body):
                return
            await self._pause(outbox)

    async def _pause(self, outbox: Outbox) -> None:
        """Leave some time between reports, but none before the completion."""
        end_s = self._clock.monotonic_s() + self._progress_interval_s
        while outbox.completion is None and (left_s := end_s - self._clock.monotonic_s()) > 0:
            outbox.changed.clear()
            try:
                await asyncio.wait_for(outbox.changed.wait(), left_s)
            except TimeoutError:
                break
        if any((outbox.progress, outbox.heartbeat, outbox.completion)):
            outbox.changed.set()

    async def _publish(self, topic: str, report: Report) -> None:
        pause_s = _RETRY_MIN_S
        while True:
            try:
                async with self._places:
                    await self._transport.publish(topic, encode_report(report))
            except ContractError as error:
                if not is_completion(report.body):
                    log.warning("Call %s: a report was not published: %s", report.correlation_id, error)
                    return
                log.error("Call %s: its result cannot be published: %s", report.correlation_id, error)
                problem = Problem(title="Bad result", detail=str(error), code="result", retryable=False)
                report = _with_body(report, Failed(problem=problem))
            except TransportError as error:
                if not is_completion(report.body):
                    return
                log.warning(
                    "Call %s: its completion is not published yet, next try in about %.1f s: %s",
                    report.correlation_id,
                    pause_s,
                    error,
                )
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 # jitter
                pause_s = min(2 * pause_s, _RETRY_MAX_S)
            else:
                return


def _with_body(report: Report, body: ReportBody) -> Report:
    return Report(
        correlation_id=report.correlation_id,
        body=body,
        id=report.id,
        source=report.source,
        time=report.time,
        attempt=report.attempt,
        sequence=report.sequence,
        traceparent=report.traceparent,
    )
