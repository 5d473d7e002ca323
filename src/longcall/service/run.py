"""One run of a call's work, from its start to its outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from typing import Any, Final

from longcall._core.clock import Clock
from longcall.contract import Completion, Failed, Heartbeat, Log, LogLine, Problem, Progress, Succeeded
from longcall.service.arguments import invoke
from longcall.service.call import Call, failure_problem, to_succeeded
from longcall.service.errors import CallFailed, StoreUnavailable
from longcall.service.handlers import HandlerSpec
from longcall.service.log_lines import LogBuffer, LogWriter
from longcall.service.process import run_in_process
from longcall.service.reports import RunReports
from longcall.service.results import ResultFiles
from longcall.service.store import Assignment, CallStore

__all__ = ["Run"]

log = logging.getLogger(__name__)

_CANCELLED_ITSELF: Final = Problem(
    title="CancelledError", detail="raised by the handler; nobody had asked for it"
)
_NOTE_INTERVAL_S: Final = 0.5
"""Between two notes of progress and log lines in the store, however chatty the work."""


class Run:
    """An attempt at work. It begins when this is made, and `wait` must be called."""

    def __init__(
        self,
        spec: HandlerSpec,
        work: Assignment,
        *,
        store: CallStore,
        reports: RunReports,
        clock: Clock,
        heartbeat_s: float,
        results: ResultFiles,
        max_result_bytes: int,
    ) -> None:
        self._results = results
        self._max_result_bytes = max_result_bytes
        self._spec = spec
        self._work = work
        self._store = store
        self._reports = reports
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._loop = asyncio.get_running_loop()
        self._lines = LogBuffer()
        self._progress: Progress | None = None
        self._news = asyncio.Event()
        self._thread = threading.get_ident()
        self._early_end: asyncio.Future[Completion | None] = self._loop.create_future()

    def end_early(self, outcome: Completion | None) -> None:
        """Stop the work, and have `wait` return `outcome`; the first word stands."""
        if not self._early_end.done():
            self._early_end.set_result(outcome)

    async def wait(self) -> Completion | None:
        """Return how the work has ended; None: without an outcome."""
        work = asyncio.create_task(self._carry_out())
        either: set[asyncio.Future[Any]] = {work, self._early_end}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.wait({work})
        if work.cancelled():
            return self._early_end.result() if self._early_end.done() else Failed(problem=_CANCELLED_ITSELF)
        error = work.exception()
        if error is None:
            return work.result()
        log.error("Call %s: the engine failed", self._work.correlation_id, exc_info=error)
        return Failed(problem=failure_problem(error))

    async def _carry_out(self) -> Completion:
        beating = asyncio.create_task(self._beat())
        try:
            return await self._results.put(self._work, await self._work_off())
        except CallFailed as failure:
            return Failed(problem=failure.problem)
        # The handler's border: whatever goes wrong in running it fails its call, and ends nothing else.
        except (Exception, SystemExit) as error:
            log.exception("Call %s: the handler failed", self._work.correlation_id)
            return Failed(problem=failure_problem(error))
        finally:
            beating.cancel()
            await asyncio.wait({beating})
            if self._news.is_set():
                await self._note()

    async def _work_off(self) -> Succeeded:
        request, attempt = self._work.request, self._work.attempt
        if self._spec.isolation == "process":
            return await run_in_process(
                self._spec.target,
                request,
                attempt=attempt,
                on_report=self._put,
                max_result_bytes=self._max_result_bytes,
            )
        log_writer = LogWriter(self._put_line, clock=self._clock)
        call = Call(
            request,
            attempt=attempt,
            on_progress=self._put_from_anywhere,
            log_writer=log_writer,
            is_cancelled=self._early_end.done,
            max_result_bytes=self._max_result_bytes,
        )
        try:
            value = invoke(self._spec.function, call, self._spec.arguments)
            assert inspect.isawaitable(value)  # only asynchronous handlers run as tasks
            return to_succeeded(await value, max_bytes=self._max_result_bytes)
        finally:
            log_writer.end()

    def _put_line(self, line: LogLine) -> None:
        self._put_from_anywhere(Log(lines=(line,)))

    def _put_from_anywhere(self, report: Progress | Log) -> None:
        """Take a report from the task itself, or from a thread that it has started."""
        if threading.get_ident() == self._thread:
            self._put(report)
        else:
            self._loop.call_soon_threadsafe(self._put, report)

    def _put(self, report: Progress | Log) -> None:
        match report:
            case Progress():
                self._progress = report
            case Log(lines=lines):
                for line in lines:
                    self._lines.put(line)
        self._news.set()
        self._reports.put(report)

    async def _beat(self) -> None:
        """Keep the store up to date, and say that the call lives when nothing else does."""
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._news.wait()
            except TimeoutError:
                self._reports.put(Heartbeat())
            await self._note()
            await asyncio.sleep(_NOTE_INTERVAL_S)

    async def _note(self) -> None:
        self._news.clear()
        lines = self._lines.take()
        try:
            counts = await self._store.beat(
                self._work.correlation_id, attempt=self._work.attempt, progress=self._progress, lines=lines
            )
        except StoreUnavailable as error:
            self._lines.give_back(lines)
            log.warning("Call %s: a sign of life is not stored: %s", self._work.correlation_id, error)
        else:
            if not counts:
                self.end_early(None)
