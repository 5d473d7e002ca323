"""What a call still has to publish, in order: accepted, the latest progress, a heartbeat, its completion.

One outbox a call. Publishing holds no place where work could run: an outage of
Pub/Sub delays reports and stops nothing. A completion is tried until it is
published; a progress report that failed is dropped, the next will say more.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace

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
from longcall.transport.errors import TopicNotFound, TransportDenied, TransportError, TransportUnavailable
from longcall.transport.port import Transport

__all__ = ["Outbox", "Publisher"]

log = logging.getLogger(__name__)

_RETRY_MIN_S = 0.2
_RETRY_MAX_S = 10.0
_REFUSED_RETRY_S = 60.0
"""Once somebody has put right what Pub/Sub refused, the completion is out within a minute or so."""
_AT_ONCE = 32
_BAD_RESULT = "Bad result"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


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
        self._hurry = asyncio.Event()

    def open(self, correlation_id: str, *, topic: str, traceparent: str) -> Outbox:
        """Return a new call's outbox; what is put in is published to `topic`.

        A `traceparent` that is none is left out, as W3C Trace Context has it.
        """
        outbox = Outbox()
        traceparent = traceparent if _TRACEPARENT.fullmatch(traceparent) else ""
        task = asyncio.create_task(self._empty(outbox, correlation_id, topic, traceparent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return outbox

    async def flush(self, timeout_s: float) -> int:
        """Wait until every completion is published, for `timeout_s` at most; return how many are not.

        Retries come quickly from now on.
        """
        self._hurry.set()
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
        """Publish a report: a completion until it is done, any other once."""
        for tries in itertools.count():
            try:
                async with self._places:
                    await self._transport.publish(topic, encode_report(report))
            except ContractError as error:
                log.error("Call %s: a report cannot be published: %s", report.correlation_id, error)
                if not is_completion(report.body) or _is_bad_result(report.body):
                    return
                problem = Problem(title=_BAD_RESULT, detail=str(error), code="result", retryable=False)
                report = replace(report, body=Failed(problem=problem))
            except Exception as error:  # the consumer loop's border: what is due stays due
                if not is_completion(report.body):
                    log.debug("Call %s: a report was not published: %s", report.correlation_id, error)
                    return
                await self._wait_to_retry(tries, topic, report, error)
            else:
                return

    async def _wait_to_retry(self, tries: int, topic: str, report: Report, error: Exception) -> None:
        pause_s = min(_RETRY_MIN_S * 2 ** min(tries, 10), _RETRY_MAX_S)
        said = "Call %s: its completion is not published yet: %s"
        if isinstance(error, TransportUnavailable):
            log.warning(said, report.correlation_id, error)
        elif isinstance(error, TransportError):
            pause_s = _REFUSED_RETRY_S
            log.error(said + "; %s", report.correlation_id, error, _remedy(error, topic))
        else:
            pause_s = _REFUSED_RETRY_S
            log.error(said, report.correlation_id, error, exc_info=error)
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 # no secret
        if self._hurry.is_set():
            await asyncio.sleep(_RETRY_MIN_S * jitter)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), pause_s * jitter)


def _is_bad_result(body: ReportBody) -> bool:
    return isinstance(body, Failed) and body.problem.title == _BAD_RESULT


def _remedy(error: TransportError, topic: str) -> str:
    if isinstance(error, TopicNotFound):
        return f"create the topic {topic}, or start the service with another --topic"
    if isinstance(error, TransportDenied):
        return f"give the service's account the role roles/pubsub.publisher on {topic}"
    return f"check the topic {topic}; the next try is in about a minute"
