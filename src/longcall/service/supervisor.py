"""Runs the calls that an engine hands to this process, and stores how they end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from longcall._core.clock import Clock
from longcall.contract import Accepted, CallState, Cancelled, Completion, Failed, Problem
from longcall.service.config import ServiceConfig
from longcall.service.engine import Engine
from longcall.service.errors import StoreUnavailable
from longcall.service.handlers import HandlerSpec
from longcall.service.housekeeping import Housekeeping
from longcall.service.logs import log_context
from longcall.service.observer import Observer, report_kind
from longcall.service.outbox import Outbox
from longcall.service.reports import Publisher, RunReports
from longcall.service.results import ResultFiles
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
_RELEASE_TRIES: Final = 2
"""Of a run without an outcome: the next start finds it in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    spec: HandlerSpec
    run: Run
    task: asyncio.Task[bool]


class Supervisor:
    """The workforce of this process."""

    def __init__(
        self,
        handlers: Mapping[str, HandlerSpec],
        *,
        store: CallStore,
        engine: Engine,
        publisher: Publisher,
        config: ServiceConfig,
        clock: Clock,
        observer: Observer,
        tracing: Tracing,
        results: ResultFiles,
    ) -> None:
        """Start nothing yet.

        Args:
            handlers: by path.
            store: where calls are kept.
            engine: says which of them to run.
            publisher: what reports go through.
            config: the limits.
            clock: the clocks to go by.
            observer: is told what happens to calls.
            tracing: makes a span of each attempt.
            results: where large results go.
        """
        self._results = results
        self.owner = secrets.token_hex(8)
        self.handlers = handlers
        self._store = store
        self._engine = engine
        self._publisher = publisher
        self._config = config
        self._clock = clock
        self._observer = observer
        self._tracing = tracing
        self._running: dict[str, _Running] = {}
        self._outbox: Outbox | None = None
        self._housekeeping: Housekeeping | None = None
        self._stopping = False

    async def start(self) -> None:
        """Run what waits, and what comes.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        await self._engine.start(self if self._config.works else None)

    async def stop(self) -> None:
        """Let running work go on for `drain_s`, stop the rest, and publish what is due.

        What is stopped waits in the store for the next start, or for another replica, unless its handler, or
        a store in memory, lets it fail. A repeat does nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        await self._engine.stop()
        if self._running:
            log.info("Stopping: %d calls have %.0f s to end", len(self._running), self._config.drain_s)
            await asyncio.wait(self._tasks(), timeout=self._config.drain_s)
        for running in self._running.values():
            hands_over = self._store.is_durable and running.spec.on_interrupt == "rerun"
            running.run.end_early(None if hands_over else Failed(problem=_STOPPED))
        await asyncio.gather(*self._tasks())
        if not self._store.is_durable:
            await self._store.end_waiting(Failed(problem=_STOPPED))
        if self._outbox is not None:
            unpublished = await self._outbox.flush(_FLUSH_S)
            if unpublished:
                where = "the next start publishes them" if self._store.is_durable else "they are lost"
                log.error("Stopped with %d completions that could not be published: %s", unpublished, where)
        await self.follow()
        await self._engine.aclose()

    async def lead(self) -> None:
        """Publish completions, and forget old calls; see `Workforce.lead`."""
        if self._outbox is None:
            self._outbox = Outbox(self._store, self._publisher, clock=self._clock, tracing=self._tracing)
            self._housekeeping = Housekeeping(self._store, self._config, self._results)
            self._outbox.start()
            self._housekeeping.start()

    async def follow(self) -> None:
        """Leave that to another; see `Workforce.follow`."""
        outbox, self._outbox = self._outbox, None
        housekeeping, self._housekeeping = self._housekeeping, None
        if outbox is not None:
            await outbox.aclose()
        if housekeeping is not None:
            await housekeeping.aclose()

    def publish_due(self) -> None:
        """Look again for completions to publish; see `Workforce.publish_due`."""
        if self._outbox is not None:
            self._outbox.wake()

    async def stop_cancelled(self) -> None:
        """Stop the runs whose cancellation was asked for; see `Workforce.stop_cancelled`."""
        if self._running:
            for name in await self._store.cancelled(owner=self.owner):
                if name in self._running:
                    self._running[name].run.end_early(Cancelled(detail="by request"))

    def is_working(self) -> bool:
        """Tell whether a call is at work here."""
        return bool(self._running)

    def with_a_place(self) -> Collection[str]:
        """Return the handlers that may start one more call; see `Workforce.with_a_place`."""
        kinds = Counter(running.spec.isolation for running in self._running.values())
        paths = Counter(running.spec.path for running in self._running.values())
        most = {"process": self._config.max_processes, "task": self._config.max_tasks}
        return {
            path
            for path, spec in self.handlers.items()
            if kinds[spec.isolation] < most[spec.isolation]
            and (spec.max_running is None or paths[path] < spec.max_running)
        }

    def begin(self, work: Assignment) -> asyncio.Task[bool]:
        """Start a run; see `Workforce.begin`."""
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
            log.info("Call %s: attempt %d begins", work.correlation_id, work.attempt)
            return self._start_run(work, span)

    def _start_run(self, work: Assignment, span: TracedWork) -> asyncio.Task[bool]:
        spec = self.handlers[work.handler]
        reports = RunReports(
            self._publisher,
            correlation_id=work.correlation_id,
            attempt=work.attempt,
            reply_topic=work.request.reply_topic,
            signing_keys=work.request.signing_keys,
            traceparent=span.traceparent,
            clock=self._clock,
            interval_s=self._config.progress_interval_s,
        )
        if work.attempt == 1:
            reports.put(Accepted())
        run = Run(
            spec,
            work,
            store=self._store,
            reports=reports,
            clock=self._clock,
            heartbeat_s=self._config.heartbeat_s,
            results=self._results,
            max_result_bytes=self._config.max_result_bytes,
        )
        task = asyncio.create_task(self._carry_out(work, run, reports, span))
        self._running[work.correlation_id] = _Running(spec=spec, run=run, task=task)
        return task

    def _tasks(self) -> list[asyncio.Task[bool]]:
        return [running.task for running in self._running.values()]

    async def _carry_out(self, work: Assignment, run: Run, reports: RunReports, span: TracedWork) -> bool:
        """See one run to its end, and store that; raises nothing. False: it has no outcome."""
        name, began_s = work.correlation_id, self._clock.monotonic_s()
        with span:
            outcome = await run.wait()
            if isinstance(outcome, Failed):
                span.fail(outcome.problem.code or "failed")
        ran_s = self._clock.monotonic_s() - began_s
        sequence = reports.close()
        outbox = self._outbox
        if outbox is not None:
            outbox.hold(name)
        try:
            counts = await self._store_outcome(work, outcome, sequence, span.traceparent)
            if counts and outcome is not None:
                self._observer.ended(work.handler, state=CallState(report_kind(outcome)), ran_s=ran_s)
            else:
                self._observer.interrupted(work.handler)
            del self._running[name]
            await self._engine.changed()
            await reports.wait_until_sent()
        finally:
            if outbox is not None:
                outbox.release(name)
        if self._housekeeping is not None:
            self._housekeeping.note_end()
        return outcome is not None

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
                if tries & (tries - 1) == 0:  # more and more seldom: many may wait
                    log.error("Call %s: its outcome waits: %s", name, error)
                if self._stopping and tries > (_RELEASE_TRIES if outcome is None else _STOPPING_TRIES):
                    log.error("Call %s: this is not stored; the next start deals with it", name)
                    return False
                await asyncio.sleep(_STORE_RETRY_S)
            # The border of a run: a defect that one outcome meets holds up nothing else, and is heard of.
            except Exception:
                log.exception("Call %s: its outcome cannot be stored; the next start deals with it", name)
                return False
            else:
                break
        if counts:
            log.info("Call %s: attempt %d %s", name, attempt, said)
        else:
            log.warning("Call %s: attempt %d was superseded; its outcome counts for nothing", name, attempt)
        return counts


def _told(outcome: Completion) -> str:
    why = f": {publishable(str(outcome.problem))}" if isinstance(outcome, Failed) else ""
    return f"{type(outcome).__name__.lower()}{why}"
