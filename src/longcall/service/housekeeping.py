"""Forgets ended calls beyond what is kept, and deletes expired results, now and then."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from longcall.service.config import ServiceConfig
from longcall.service.errors import StoreUnavailable
from longcall.service.results import ResultFiles
from longcall.service.store import CallStore

__all__ = ["Housekeeping"]

log = logging.getLogger(__name__)

_INTERVAL_S: Final = 60.0
_ENDS: Final = 1000
"""Ended calls after which it is time, however little of it has passed."""


class Housekeeping:
    """Keeps the store, and the files of large results, within the limits of the configuration."""

    def __init__(self, store: CallStore, config: ServiceConfig, results: ResultFiles) -> None:
        """Do nothing yet."""
        self._results = results
        self._pause_s = min(_INTERVAL_S, config.max_ended_age_s, config.result_lifetime_s)
        self._store = store
        self._config = config
        self._ended = 0
        self._due = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; `aclose` ends it."""
        self._loop = asyncio.create_task(self._run())

    def note_end(self) -> None:
        """One more call has ended."""
        self._ended += 1
        if self._ended % _ENDS == 0:
            self._due.set()

    async def aclose(self) -> None:
        """End. A repeat does nothing."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait({self._loop})

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s):
                    await self._due.wait()
            self._due.clear()
            try:
                while await self._store.forget(
                    max_ended=self._config.max_ended,
                    max_age_s=self._config.max_ended_age_s,
                    max_bytes=self._config.max_ended_bytes,
                ):
                    pass
                await self._results.remove_expired()
            except StoreUnavailable as error:
                log.error("Old calls are not removed: %s", error)
