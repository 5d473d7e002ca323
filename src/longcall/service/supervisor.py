"""Runs the calls that wait in the store, each where its handler wants it, and stores how they end.

It sleeps until it is woken: by an accepted call, by a cancellation, by work that
ended and left a place. What it finds in the store when it starts, a process that
died has left.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from longcall._core.clock import Clock
from longcall.contract import Accepted, CallState, Cancelled, Completion, Failed, Problem
from longcall.service.config import ServiceConfig
from longcall.service.errors import StoreUnavailable
from longcall.service.handlers import HandlerSpec
from longcall.service.logs import log_context
from longcall.service.observer import Observer, report_kind
from longcall.service.outbox import Outbox
from longcall.service.reports import Publisher, RunReports
from longcall.service.run import Run
from longcall.service.store import Assignment, CallStore
from longcall.service.tracing import TracedWork, Tracing
from longcall.service.wording import publishable

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

_STOPPED: Final = Problem(title="The service stopped", detail="before the work was done", code="stopped")
_FLUSH_S: Final = 10.0
"""How long a stopping service goes on trying to publish what is due."""
_STORE_RETRY_S: Final = 1.0
_STOPPING_TRIES: Final = 10
_SWEEP_S: Final = 60.0
_SWEEP_EACH: Final = 1000
"""Ended calls after which the store is swept before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    spec: HandlerSpec
    run: Run
    task: asyncio.Task[None]


class Supervisor:
    """The one that runs the calls of a store."""

    def __init__(
        self,
        handlers: Mapping[str, HandlerSpec],
        *,
        store: CallStore,
        publisher: Publisher,
        config: ServiceConfig,
        clock: Clock,
        observer: Observer,
        tracing: Tracing,
    ) -> None:
        """Start nothing yet.

        Args:
            handlers: by path.
            store: where calls are kept; nobody else runs those of it.
            publisher: what reports go through.
            config: the limits.
            clock: the clocks to go by.
            observer: is told what happens to calls.
            tracing: makes a span of each attempt.
        """
        self._handlers = handlers
        self._store = store
        self._publisher = publisher
        self._config = config
        self._clock = clock
        self._observer = observer
        self._tracing = tracing
        self._outbox = Outbox(store, publisher, clock=clock, tracing=tracing)
        self._owner = secrets.token_hex(8)
        self._running: dict[str, _Running] = {}
        self._woken = asyncio.Event()
        self._sweep_now = asyncio.Event()
        self._ended = 0
        self._stopping = False
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what a process that died has left, and run what waits.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        found = await self._store.recover(
            {path: spec.on_interrupt for path, spec in self._handlers.items()},
            max_interruptions=self._config.max_interruptions,
        )
        for names, fate in (
            (found.rerun, "is run again"),
            (found.failed, "has failed"),
            (found.cancelled, "is cancelled, as was asked"),
        ):
            for name in names:
                log.warning("Call %s: its process died; it %s", name, fate)
                await self._tell_of_interrupted(name)
        self._outbox.start()
        self._loops = [asyncio.create_task(self._dispatch()), asyncio.create_task(self._sweep())]
        self._woken.set()

    async def _tell_of_interrupted(self, name: str) -> None:
        call = await self._store.get(name)
        if call is not None:
            self._observer.interrupted(call.handler)
            if call.status.state.is_final:
                self._observer.ended(call.handler, state=call.status.state, ran_s=None)

    def wake(self) -> None:
        """Look again for calls to run or to stop; returns at once."""
        self._woken.set()
        self._outbox.wake()

    async def stop(self) -> None:
        """Let running work go on for `drain_s`, stop the rest, and publish what is due.

        What is stopped waits in the store for the next start, unless its handler, or a store in memory,
        lets it fail. A repeat does nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._running:
            log.info("Stopping: %d calls have %.0f s to end", len(self._running), self._config.drain_s)
            await asyncio.wait(self._tasks(), timeout=self._config.drain_s)
        for running in self._running.values():
            hands_over = self._store.is_durable and running.spec.on_interrupt == "rerun"
            running.run.end_early(None if hands_over else Failed(problem=_STOPPED))
        await asyncio.gather(*self._tasks())
        if not self._store.is_durable:
            await self._store.end_waiting(Failed(problem=_STOPPED))
        unpublished = await self._outbox.flush(_FLUSH_S)
        if unpublished:
            where = "the next start publishes them" if self._store.is_durable else "they are lost"
            log.error("Stopped with %d completions that could not be published: %s", unpublished, where)
        await self._outbox.aclose()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [running.task for running in self._running.values()]

    async def _dispatch(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._stop_cancelled()
                await self._start_waiting()
            except StoreUnavailable as error:
                log.error("Calls wait: %s", error)
                await asyncio.sleep(_STORE_RETRY_S)
                self._woken.set()

    async def _stop_cancelled(self) -> None:
        if self._running:
            for name in await self._store.cancelled(owner=self._owner):
                if name in self._running:
                    self._running[name].run.end_early(Cancelled(detail="by request"))

    async def _start_waiting(self) -> None:
        while free := self._with_a_place():
            work = await self._store.claim(free, owner=self._owner)
            if work is None:
                return
            self._begin(work)

    def _with_a_place(self) -> set[str]:
        """Return the handlers that may start one more call."""
        kinds = Counter(running.spec.isolation for running in self._running.values())
        paths = Counter(running.spec.path for running in self._running.values())
        most = {"process": self._config.max_processes, "task": self._config.max_tasks}
        return {
            path
            for path, spec in self._handlers.items()
            if kinds[spec.isolation] < most[spec.isolation]
            and (spec.max_running is None or paths[path] < spec.max_running)
        }

    def _begin(self, work: Assignment) -> None:
        spec = self._handlers[work.handler]
        self._observer.started(work.handler, waited_s=work.waited_s)
        span = self._tracing.attempt(
            correlation_id=work.correlation_id,
            handler=work.handler,
            attempt=work.attempt,
            traceparent=work.request.traceparent,
        )
        about = log_context(
            correlid=work.correlation_id,
            handler=work.handler,
            attempt=work.attempt,
            traceparent=span.traceparent,
        )
        with about:  # the tasks that are begun here keep it
            self._start_run(spec, work, span)

    def _start_run(self, spec: HandlerSpec, work: Assignment, span: TracedWork) -> None:
        reports = RunReports(
            self._publisher,
            correlation_id=work.correlation_id,
            attempt=work.attempt,
            reply_topic=work.request.reply_topic,
            traceparent=span.traceparent,
            clock=self._clock,
            interval_s=self._config.progress_interval_s,
        )
        if work.attempt == 1:
            reports.put(Accepted())
        run = Run(spec, work, store=self._store, reports=reports, heartbeat_s=self._config.heartbeat_s)
        task = asyncio.create_task(self._carry_out(work, run, reports, span))
        self._running[work.correlation_id] = _Running(spec=spec, run=run, task=task)

    async def _carry_out(self, work: Assignment, run: Run, reports: RunReports, span: TracedWork) -> None:
        """See one run to its end, and store that; raises nothing."""
        name, began_s = work.correlation_id, self._clock.monotonic_s()
        with span:
            outcome = await run.wait()
            if isinstance(outcome, Failed):
                span.fail(outcome.problem.code or "failed")
        ran_s = self._clock.monotonic_s() - began_s
        sequence = reports.close()
        self._outbox.hold(name)
        try:
            counts = await self._store_outcome(work, outcome, sequence, span.traceparent)
            if counts and outcome is not None:
                self._observer.ended(work.handler, state=_state(outcome), ran_s=ran_s)
            else:
                self._observer.interrupted(work.handler)
            del self._running[name]
            self._woken.set()
            await reports.wait_until_sent()
        finally:
            self._outbox.release(name)
        self._ended += 1
        if self._ended % _SWEEP_EACH == 0:
            self._sweep_now.set()

    async def _store_outcome(
        self, work: Assignment, outcome: Completion | None, sequence: int, traceparent: str
    ) -> bool:
        """Store how a run ended, however long the store is away: its result is worth the wait.

        False: it counts for nothing.
        """
        name, attempt = work.correlation_id, work.attempt
        for tries in itertools.count(1):
            try:
                if outcome is None:
                    counts = await self._store.release(name, attempt=attempt)
                    said = "is left to the next start"
                else:
                    counts = await self._store.end(
                        name, outcome, attempt=attempt, sequence=sequence, traceparent=traceparent
                    )
                    said = _told(outcome)
            except StoreUnavailable as error:
                log.error("Call %s: its outcome waits: %s", name, error)
                if self._stopping and tries > _STOPPING_TRIES:
                    log.error("Call %s: its outcome is lost; the next start deals with it", name)
                    return False
                await asyncio.sleep(_STORE_RETRY_S)
            else:
                break
        if counts:
            log.info("Call %s: attempt %d %s", name, attempt, said)
        else:
            log.warning("Call %s: attempt %d was superseded; its outcome counts for nothing", name, attempt)
        return counts

    async def _sweep(self) -> None:
        """Forget ended calls beyond what is kept."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_SWEEP_S, self._config.max_ended_age_s)):
                    await self._sweep_now.wait()
            self._sweep_now.clear()
            try:
                while await self._store.forget(
                    max_ended=self._config.max_ended,
                    max_age_s=self._config.max_ended_age_s,
                    max_bytes=self._config.max_ended_bytes,
                ):
                    pass
            except StoreUnavailable as error:
                log.error("Old calls are not removed: %s", error)


def _state(outcome: Completion) -> CallState:
    return CallState(report_kind(outcome))


def _told(outcome: Completion) -> str:
    why = f": {publishable(str(outcome.problem))}" if isinstance(outcome, Failed) else ""
    return f"{type(outcome).__name__.lower()}{why}"
