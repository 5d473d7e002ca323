"""The engine of one machine: this process runs every call of its store.

It sleeps until it is woken: by an accepted call, by a cancellation, by work that
ended and left a place. What it finds when it starts, a process that died has left.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from longcall.service.engine.port import Workforce
from longcall.service.errors import StoreUnavailable
from longcall.service.observer import Observer
from longcall.service.store import CallStore

__all__ = ["LocalEngine"]

log = logging.getLogger(__name__)

_STORE_RETRY_S: Final = 1.0


class LocalEngine:
    """Claims calls for the one workforce there is."""

    def __init__(self, store: CallStore, *, max_interruptions: int, observer: Observer) -> None:
        """Hand out nothing yet.

        Args:
            store: that nobody else works on.
            max_interruptions: a call whose work died so often fails.
            observer: is told of work that died.
        """
        self._store = store
        self._max_interruptions = max_interruptions
        self._observer = observer
        self._woken = asyncio.Event()
        self._dispatching: asyncio.Task[None] | None = None

    async def start(self, workforce: Workforce | None) -> None:
        """Take up what a process that died has left, and hand out what waits; see `Engine.start`."""
        assert workforce is not None  # this process is all there is
        found = await self._store.recover(
            {path: spec.on_interrupt for path, spec in workforce.handlers.items()},
            max_interruptions=self._max_interruptions,
        )
        found.tell(self._observer)
        await workforce.lead()
        self._woken.set()
        self._dispatching = asyncio.create_task(self._dispatch(workforce))

    async def accepted(self, correlation_id: str, *, handler: str) -> None:
        """Look for it; see `Engine.accepted`."""
        self._woken.set()

    async def changed(self) -> None:
        """Look again; see `Engine.changed`."""
        self._woken.set()

    async def stop(self) -> None:
        """Hand out no more calls."""
        if self._dispatching is not None:
            self._dispatching.cancel()
            await asyncio.wait({self._dispatching})

    async def aclose(self) -> None:
        """Do nothing: there is nothing to let go of."""

    async def _dispatch(self, workforce: Workforce) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            workforce.publish_due()
            try:
                await workforce.stop_cancelled()
                while free := workforce.with_a_place():
                    work = await self._store.claim(free, owner=workforce.owner)
                    if work is None:
                        break
                    workforce.begin(work)
            except StoreUnavailable as error:
                log.error("Calls wait: %s", error)
                await asyncio.sleep(_STORE_RETRY_S)
                self._woken.set()
