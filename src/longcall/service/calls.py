"""What callers ask of a service: take a call in, say how it stands, stop it, list them.

It changes the store and tells the engine; it runs nothing itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from longcall.contract import CallRequest, CallState, CallStatus
from longcall.service.config import ServiceConfig
from longcall.service.engine import Engine
from longcall.service.errors import ServiceUnavailable, UnknownCall
from longcall.service.logs import log_context
from longcall.service.observer import Observer
from longcall.service.reports import checked_traceparent
from longcall.service.store import CallFilter, CallStore, CallSummary, StoredCall, StoredLine, is_shared
from longcall.service.store.levels import Levels
from longcall.service.tracing import Tracing

__all__ = ["Calls"]

log = logging.getLogger(__name__)


class Calls:
    """The calls of a service, as its callers see them."""

    def __init__(
        self, store: CallStore, *, config: ServiceConfig, engine: Engine, observer: Observer, tracing: Tracing
    ) -> None:
        """Ask nothing yet.

        Args:
            store: where calls are kept.
            config: the limits.
            engine: told of what there is to run or to stop.
            observer: told of new calls.
            tracing: makes a span of each request.
        """
        self._store = store
        self._config = config
        self._engine = engine
        self._observer = observer
        self._tracing = tracing
        self._stopping = False

    async def accept(self, request: CallRequest, *, path: str) -> StoredCall:
        """Take a call in; a repeat returns the call as it stands and starts nothing.

        Once this returns, the call is in the store.

        Raises:
            CallConflict: the id is known with another body.
            ServiceUnavailable: the service stops, too many calls wait, or the store cannot be written.
        """
        name, caller = request.correlation_id, checked_traceparent(request.traceparent)
        with (
            self._tracing.accept(correlation_id=name, handler=path, traceparent=caller) as span,
            log_context(correlid=name, handler=path, traceparent=span.traceparent),
        ):
            return await self._accept(replace(request, traceparent=span.traceparent), path)

    async def knows(self, request: CallRequest, *, path: str) -> bool:
        """Tell whether this very request was taken on before."""
        call = await self._store.get(request.correlation_id)
        return call is not None and (call.digest, call.handler) == (request.digest(), path)

    async def _accept(self, request: CallRequest, path: str) -> StoredCall:
        if self._stopping:
            known = await self._store.get(request.correlation_id)
            if known is None:
                raise ServiceUnavailable("the service is stopping: send the same request again")
        limits = self._config
        most = limits.max_waiting + limits.max_tasks + limits.max_processes
        call, is_new = await self._store.accept(request, handler=path, max_open=most)
        if is_new:
            self._observer.accepted(path)
            log.info("Call %s: accepted for %s", request.correlation_id, path)
        if call.status.state is CallState.ACCEPTED:
            await self._engine.accepted(request.correlation_id, handler=path)
        return call

    async def status(self, correlation_id: str) -> CallStatus:
        """Return how a call stands.

        Raises:
            UnknownCall: there is none of that id.
        """
        return (await self.get(correlation_id)).status

    async def get(self, correlation_id: str) -> StoredCall:
        """Return a call.

        Raises:
            UnknownCall: there is none of that id.
        """
        call = await self._store.get(correlation_id)
        if call is None:
            raise UnknownCall("no call of this id is known here, or it ended long ago")
        return call

    async def cancel(self, correlation_id: str) -> CallStatus:
        """Ask for a call to be stopped; its completion follows. An ended call stays as it is.

        Raises:
            UnknownCall: there is none of that id.
        """
        before = await self._store.get(correlation_id)
        call = await self._store.cancel(correlation_id)
        if before is not None and before.status.state is CallState.ACCEPTED and call.status.state.is_final:
            self._observer.ended(call.handler, state=call.status.state, ran_s=None)
        await self._engine.changed()
        return call.status

    async def find(self, wanted: CallFilter, *, before: int | None, limit: int) -> Sequence[CallSummary]:
        """Return the latest calls that are wanted, the newest first."""
        return await self._store.find(wanted, before=before, limit=limit)

    async def log_of(self, correlation_id: str, *, after: int = 0) -> Sequence[StoredLine]:
        """Return the kept lines of a call's log whose number is greater than `after`, the oldest first.

        Raises:
            UnknownCall: there is no call of that id.
        """
        lines = await self._store.log_of(correlation_id, after=after)
        if not lines:
            await self.status(correlation_id)
        return lines

    async def counts(self) -> Mapping[CallState, int]:
        """Return how many calls stand where."""
        return await self._store.counts()

    def next_change(self) -> asyncio.Event:
        """Return what is set when this process next changes a call, or begins to stop."""
        return self._store.next_change()

    @property
    def sees_all_changes(self) -> bool:
        """Whether no other process changes calls."""
        return not is_shared(self._config.store)

    @property
    def is_stopping(self) -> bool:
        """Whether no new calls are taken in any more."""
        return self._stopping

    async def levels(self) -> Levels:
        """Return how much there is to do."""
        return await self._store.levels()

    async def check_ready(self) -> None:
        """Return if a new call would be taken in now, as far as it can be told.

        Raises:
            ServiceUnavailable: the service stops, or the store cannot be read.
        """
        if self._stopping:
            raise ServiceUnavailable("the service is stopping")
        await self._store.get("")

    def stop_accepting(self) -> None:
        """Refuse new calls from now on; how the known ones stand can still be asked."""
        self._stopping = True
        self._store.next_change().set()
