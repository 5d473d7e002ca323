"""Publishes the completions that the store says are due, until each is out (the transactional outbox).

An outcome is stored before it is published, and noted as published after that. A
process that dies in between publishes it again, under the same CloudEvents id.
Nothing of it is in memory but what is being published now: hours without Pub/Sub
delay completions, and take no room.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from longcall._core.clock import Clock
from longcall.contract import ContractError, Failed, Problem, resource_id
from longcall.service.errors import StoreUnavailable
from longcall.service.logs import log_context
from longcall.service.reports import Publisher
from longcall.service.store import CallStore, Due
from longcall.service.tracing import Tracing
from longcall.transport.errors import TopicNotFound, TransportDenied, TransportError, TransportUnavailable

__all__ = ["Outbox"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 32
_RETRY_MIN_S: Final = 0.2
_RETRY_MAX_S: Final = 10.0
_REFUSED_RETRY_S: Final = 60.0
"""Once somebody has put right what Pub/Sub refused, completions are out within a minute or so."""
_OWN_TOPIC_S: Final = 600.0
"""How long a call's own topic may be missing; a new one takes Pub/Sub some seconds to see everywhere."""
_FLUSH_POLL_S: Final = 0.02
_ALL: Final = "*"
"""In place of a topic: Pub/Sub itself is away."""


@dataclass(frozen=True, slots=True)
class _Pause:
    until_s: float
    tries: int


class Outbox:
    """The completions of all calls on their way out. What is due stays due until it is published."""

    def __init__(self, store: CallStore, publisher: Publisher, *, clock: Clock, tracing: Tracing) -> None:
        """Publish nothing yet: `start` does."""
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._tracing = tracing
        self._held: set[str] = set()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, _Pause] = {}
        self._woken = asyncio.Event()
        self._hurries = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Publish what is due now, and what becomes due."""
        self._woken.set()
        self._loop = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look again for what is due."""
        self._woken.set()

    def hold(self, correlation_id: str) -> None:
        """Leave a call's completion alone: an earlier report of it is still on its way."""
        self._held.add(correlation_id)

    def release(self, correlation_id: str) -> None:
        """Take a call's completion on again, if one is due."""
        self._held.discard(correlation_id)
        self._woken.set()

    async def flush(self, timeout_s: float) -> int:
        """Wait until every completion is published, for `timeout_s` at most; return how many are not.

        Retries come quickly from now on.
        """
        self._hurries = True
        self._pauses.clear()
        self._woken.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while await self._store.count_due():  # noqa: ASYNC110 # for some seconds at a process's end
                    await asyncio.sleep(_FLUSH_POLL_S)
        return await self._store.count_due()

    async def aclose(self) -> None:
        """Stop publishing. What is due stays in the store."""
        tasks = [*self._busy.values(), *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wait()
            try:
                await self._publish_due()
            except StoreUnavailable as error:
                log.error("Completions wait: %s", error)
                self._pause(_ALL, _RETRY_MAX_S)

    async def _wait(self) -> None:
        """Wait until there may be something to do: somebody says so, or a pause is over."""
        now_s = self._clock.monotonic_s()
        ends = [pause.until_s for pause in self._pauses.values() if pause.until_s > now_s]
        until_s = min(ends, default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until_s is None else until_s - now_s):
                await self._woken.wait()
        self._woken.clear()

    async def _publish_due(self) -> None:
        now_s = self._clock.monotonic_s()
        paused = {topic for topic, pause in self._pauses.items() if pause.until_s > now_s}
        if _ALL in paused or len(self._busy) >= _AT_ONCE:
            return
        # One alone tries whether Pub/Sub is back.
        places = 1 if _ALL in self._pauses else _AT_ONCE
        if len(self._busy) >= places:
            return
        known = self._held | self._busy.keys()
        for due in await self._store.due(limit=places - len(self._busy), but=known, not_to=paused):
            if due.correlation_id not in self._held:
                with log_context(
                    correlid=due.correlation_id, attempt=due.attempt, traceparent=due.traceparent
                ):
                    self._busy[due.correlation_id] = asyncio.create_task(self._publish(due))

    async def _publish(self, due: Due) -> None:
        """Publish one completion and note it, or see to it that it is tried again."""
        report = due.report(source=self._publisher.source)
        try:
            with self._tracing.publish(report, topic=self._publisher.topic_of(due.reply_topic)):
                await self._publisher.publish(
                    report, reply_topic=due.reply_topic, signing_keys=due.signing_keys
                )
        except ContractError as error:
            await self._replace(due, error)
        except TopicNotFound as error:
            if self._is_given_up(due):
                log.warning("Call %s: its caller has deleted its topic: %s", due.correlation_id, error)
                await self._note(due)
            else:
                self._pause_after(due, error)
        except Exception as error:  # the consumer loop's border: what is due stays due
            self._pause_after(due, error)
        else:
            self._pauses.pop(due.reply_topic, None)
            self._pauses.pop(_ALL, None)
            await self._note(due)
        finally:
            del self._busy[due.correlation_id]
            self._woken.set()

    def _is_given_up(self, due: Due) -> bool:
        """Tell whether nobody waits for a completion: its topic was the call's own, and is gone for long.

        A topic that others use may come back, and what is due waits for it.
        """
        is_own = resource_id(due.reply_topic) == due.correlation_id if due.reply_topic else False
        return is_own and (self._clock.now() - due.ended_time).total_seconds() >= _OWN_TOPIC_S

    async def _note(self, due: Due) -> None:
        """Note that a completion is out, until that is noted: it would be published again."""
        while True:
            try:
                return await self._store.note_published(due.correlation_id)
            except StoreUnavailable as error:
                log.error("Call %s: published, which cannot be noted yet: %s", due.correlation_id, error)
                await asyncio.sleep(_RETRY_MAX_S / 10)

    async def _replace(self, due: Due, error: ContractError) -> None:
        """Put a failure in the place of what no message can carry."""
        log.error("Call %s: its completion cannot be published: %s", due.correlation_id, error)
        problem = Problem(title="Bad result", detail=str(error), code="result", retryable=False)
        if due.completion == Failed(problem=problem):
            self._pause(due.reply_topic, _REFUSED_RETRY_S)
            return
        try:
            await self._store.replace_completion(due, Failed(problem=problem))
        except StoreUnavailable as unavailable:
            log.error("Completions wait: %s", unavailable)
            self._pause(_ALL, _RETRY_MAX_S)

    def _pause_after(self, due: Due, error: Exception) -> None:
        said = "Call %s: its completion is not published yet: %s"
        if isinstance(error, TransportUnavailable):
            log.warning(said, due.correlation_id, error)
            tries = self._pauses[_ALL].tries if _ALL in self._pauses else 0
            self._pause(_ALL, min(_RETRY_MIN_S * 2 ** min(tries, 10), _RETRY_MAX_S))
            return
        if isinstance(error, TransportError):
            remedy = _remedy(error, self._publisher.topic_of(due.reply_topic))
            log.error(said + "; %s", due.correlation_id, error, remedy)
        else:
            log.error(said, due.correlation_id, error, exc_info=error)
        self._pause(due.reply_topic, _REFUSED_RETRY_S)

    def _pause(self, topic: str, pause_s: float) -> None:
        """Leave a topic alone for a while; several failures at once are one."""
        now_s = self._clock.monotonic_s()
        known = self._pauses.get(topic)
        if known is not None and known.until_s > now_s:
            return
        pause_s = _RETRY_MIN_S if self._hurries else pause_s
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 # no secret
        tries = known.tries + 1 if known is not None else 1
        self._pauses[topic] = _Pause(until_s=now_s + pause_s * jitter, tries=tries)


def _remedy(error: TransportError, topic: str) -> str:
    if isinstance(error, TopicNotFound):
        return f"create the topic {topic}, or start the service with another --topic"
    if isinstance(error, TransportDenied):
        return f"give the service's account the role roles/pubsub.publisher on {topic}"
    return f"check the topic {topic}; the next try is in about a minute"
