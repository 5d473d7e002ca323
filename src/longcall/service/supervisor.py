"""Takes calls in, runs each once, and sees to it that its completion is published."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from longcall._core.clock import Clock
from longcall.contract import (
    Accepted,
    CallRequest,
    CallStatus,
    Cancelled,
    Completion,
    Failed,
    Heartbeat,
    Problem,
    Progress,
    Succeeded,
)
from longcall.service.call import Call, Handler, failure_problem, to_succeeded
from longcall.service.config import ServiceConfig
from longcall.service.errors import CallFailed, ServiceUnavailable, UnknownCall
from longcall.service.outbox import Outbox, Publisher
from longcall.service.process import run_in_process
from longcall.service.store import CallStore, StoredCall

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

_STOPPED = Problem(title="The service stopped", detail="before the work was done", code="stopped")


_CANCELLED_ITSELF = Problem(title="CancelledError", detail="raised by the handler; nobody had asked for it")
_FLUSH_S = 10.0
"""How long a stopping service goes on trying to publish what is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    task: asyncio.Task[None]
    early_end: asyncio.Future[Completion]
    """Set when the call is to end before its work does, to what it then ends as."""


class Supervisor:
    """Runs calls. Synchronous handlers each get a child process, asynchronous ones a task."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        targets: Mapping[str, str],
        *,
        store: CallStore,
        publisher: Publisher,
        config: ServiceConfig,
        clock: Clock,
    ) -> None:
        """Start nothing yet.

        Args:
            handlers: by path.
            targets: `module:qualname` by path, of those that run in a child process.
            store: where calls are kept.
            publisher: what reports go through; `stop` closes it.
            config: the limits.
            clock: the clocks to go by.
        """
        self._handlers = handlers
        self._targets = targets
        self._store = store
        self._publisher = publisher
        self._config = config
        self._clock = clock
        self._processes = asyncio.Semaphore(config.max_processes)
        self._tasks = asyncio.Semaphore(config.max_tasks)
        self._running: dict[str, _Running] = {}
        self._stopping = False

    async def accept(self, request: CallRequest, *, path: str) -> StoredCall:
        """Take a call in and start it; a repeat returns the call as it stands and starts nothing.

        Raises:
            CallConflict: the id is known with another body.
            ServiceUnavailable: the service stops, or too many calls wait.
        """
        known = await self._store.get(request.correlation_id)
        if known is None and self._stopping:
            raise ServiceUnavailable("the service is stopping: send the same request again")
        limit = self._config.max_waiting + self._config.max_tasks + self._config.max_processes
        if known is None and len(self._running) >= limit:
            raise ServiceUnavailable("too many calls are waiting: send the same request again later")
        call, is_new = await self._store.accept(request, handler=path)
        if is_new:
            outbox = self._publisher.open(
                request.correlation_id,
                topic=request.reply_topic or self._config.topic,
                traceparent=request.traceparent,
            )
            outbox.put(Accepted())
            early_end: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._carry_out(request, path, outbox, early_end))
            self._running[request.correlation_id] = _Running(task=task, early_end=early_end)
            log.info("Call %s: accepted for %s", request.correlation_id, path)
        return call

    async def status(self, correlation_id: str) -> CallStatus:
        """Return how a call stands.

        Raises:
            UnknownCall: there is none of that id.
        """
        call = await self._store.get(correlation_id)
        if call is None:
            raise UnknownCall("no call of this id is known here, or it ended long ago")
        return call.status

    async def cancel(self, correlation_id: str) -> CallStatus:
        """Ask for a call to be stopped; its completion follows. An ended call stays as it is.

        Raises:
            UnknownCall: there is none of that id.
        """
        status = await self.status(correlation_id)
        self._end_early(correlation_id, Cancelled(detail="by request"))
        return status

    async def stop(self) -> None:
        """Let running work go on for `drain_s`, stop the rest, and publish what is due.

        A repeat does nothing. New calls are refused from now on; how the known ones stand can still be asked.
        """
        self._stopping = True
        if self._running:
            log.info("Stopping: %d calls have %.0f s to end", len(self._running), self._config.drain_s)
            await asyncio.wait(self._tasks_now(), timeout=self._config.drain_s)
        for correlation_id in self._running:
            self._end_early(correlation_id, Failed(problem=_STOPPED))
        await asyncio.gather(*self._tasks_now())
        unpublished = await self._publisher.flush(_FLUSH_S)
        if unpublished:
            log.error("Stopped with %d completions that could not be published", unpublished)
        await self._publisher.aclose()

    def _tasks_now(self) -> list[asyncio.Task[None]]:
        return [running.task for running in self._running.values()]

    def _end_early(self, correlation_id: str, completion: Completion) -> None:
        running = self._running.get(correlation_id)
        if running is not None and not running.early_end.done():
            running.early_end.set_result(completion)

    async def _carry_out(
        self, request: CallRequest, path: str, outbox: Outbox, early_end: asyncio.Future[Completion]
    ) -> None:
        """See a call from its place in the queue to its completion; raises nothing."""
        name = request.correlation_id
        work = asyncio.create_task(self._work(request, path, outbox))
        try:
            await asyncio.wait({work, early_end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.wait({work})
        completion = _completion(work, early_end)
        if await self._store.end(name, completion):
            why = f": {completion.problem}" if isinstance(completion, Failed) else ""
            log.info("Call %s: %s%s", name, type(completion).__name__.lower(), why)
            outbox.put(completion)
        del self._running[name]

    async def _work(self, request: CallRequest, path: str, outbox: Outbox) -> Completion:
        async with self._processes if path in self._targets else self._tasks:
            return await self._run(request, path, outbox)

    async def _run(self, request: CallRequest, path: str, outbox: Outbox) -> Completion:
        name = request.correlation_id
        attempt = await self._store.start(name, now=self._clock.now())
        progress = _LatestProgress(outbox)
        beating = asyncio.create_task(self._beat(name, outbox, progress))
        try:
            if path in self._targets:
                return await run_in_process(
                    self._targets[path], request, attempt=attempt, on_progress=progress.put
                )
            return await self._run_here(request, path, attempt, progress)
        except CallFailed as failure:
            return Failed(problem=failure.problem)
        # The handler's border: whatever goes wrong in running it fails its call, and ends nothing else.
        except (Exception, SystemExit) as error:
            log.exception("Call %s: the handler failed", name)
            return Failed(problem=failure_problem(error))
        finally:
            beating.cancel()
            await asyncio.wait({beating})
            await self._store.beat(name, now=self._clock.now(), progress=progress.latest)

    async def _run_here(
        self, request: CallRequest, path: str, attempt: int, progress: _LatestProgress
    ) -> Succeeded:
        value = self._handlers[path](Call(request, attempt=attempt, on_progress=progress.put))
        assert inspect.isawaitable(value)  # only asynchronous handlers come here
        return to_succeeded(await value)

    async def _beat(self, name: str, outbox: Outbox, progress: _LatestProgress) -> None:
        """Keep the store up to date, and say that the call lives when nothing else does."""
        interval_s = self._config.heartbeat_s
        while True:
            try:
                async with asyncio.timeout(interval_s):
                    await progress.changed.wait()
                progress.changed.clear()
            except TimeoutError:
                outbox.put(Heartbeat())
            await self._store.beat(name, now=self._clock.now(), progress=progress.latest)


class _LatestProgress:
    """Where a call's progress goes: out, and to the store."""

    def __init__(self, outbox: Outbox) -> None:
        self.latest: Progress | None = None
        self.changed = asyncio.Event()
        self._outbox = outbox

    def put(self, progress: Progress) -> None:
        self.latest = progress
        self.changed.set()
        self._outbox.put(progress)


def _completion(work: asyncio.Task[Completion], early_end: asyncio.Future[Completion]) -> Completion:
    """Return what a call has ended as, now that its work is over."""
    if work.cancelled():
        return early_end.result() if early_end.done() else Failed(problem=_CANCELLED_ITSELF)
    error = work.exception()
    if error is None:
        return work.result()
    log.error("The call store or the engine failed", exc_info=error)
    return Failed(problem=failure_problem(error))
