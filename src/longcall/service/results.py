"""Puts results that are too large for a message where callers can fetch them, and takes them away in time.

A file is noted in the call store before it is written, and written before the outcome is committed that
refers to it. Whatever is killed in between, the file is found again by its note, and deleted when its time
is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import datetime, timedelta
from typing import Final

from longcall._core.clock import Clock
from longcall.contract import DataReference, Succeeded
from longcall.service.config import ServiceConfig
from longcall.service.errors import CallFailed, ServiceConfigError, StoreUnavailable
from longcall.service.store import Assignment, CallStore
from longcall.service.wording import publishable
from longcall.transport.errors import TransportError
from longcall.transport.files import check_usable, delete_file, write_file

__all__ = ["ResultFiles"]

log = logging.getLogger(__name__)

_PAUSES_S: Final = (0.5, 2.0, 8.0)
"""Before each further try to write a file; after the last one its call fails, and may be tried again."""
_NAME_LENGTH: Final = 40


class ResultFiles:
    """The large results of a service."""

    def __init__(self, store: CallStore, config: ServiceConfig, *, service: str, clock: Clock) -> None:
        """Put nothing anywhere yet.

        Args:
            store: where it is noted what lies where.
            config: where results go, from which size on, and for how long.
            service: whose they are.
            clock: the clocks to go by.

        Raises:
            ServiceConfigError: nothing here can write to such a URL.
        """
        self._store = store
        self._url = config.results_url.rstrip("/")
        self._limit_bytes = config.result_limit_bytes
        self._lifetime = timedelta(seconds=config.result_lifetime_s)
        self._service = service
        self._clock = clock
        if self._url:
            try:
                check_usable(self._url)
            except TransportError as error:
                raise ServiceConfigError("results_url", str(error)) from error

    async def put(self, work: Assignment, result: Succeeded) -> Succeeded:
        """Return the result as it is to be published: by reference, and put there, if it is large.

        A run has one address, whoever asks how often: what was put there before is replaced.

        Raises:
            CallFailed: it cannot be put there now; retryable.
        """
        if not self._url or len(result.data) <= self._limit_bytes:
            return result
        # Not the correlation id itself: who lists a bucket is not to be able to speak for its calls.
        name = hashlib.sha256(f"{self._service}\n{work.correlation_id}".encode()).hexdigest()[:_NAME_LENGTH]
        url = f"{self._url}/{name}.{work.attempt}"
        expires_time = self._clock.now() + self._lifetime
        await self._note(url, expires_time)
        await self._write(work, url, result.data)
        log.info("Call %s: its result of %d bytes is at %s", work.correlation_id, len(result.data), url)
        reference = await asyncio.to_thread(DataReference.of, result.data, url=url, expires_time=expires_time)
        return Succeeded(content_type=result.content_type, reference=reference)

    async def _write(self, work: Assignment, url: str, data: bytes) -> None:
        for pause_s in (*_PAUSES_S, None):
            try:
                return await asyncio.to_thread(write_file, url, data)
            except TransportError as error:
                log.error("Call %s: its result is not stored: %s", work.correlation_id, error)
                if pause_s is None or not error.retryable:
                    detail = publishable(str(error))
                    raise CallFailed(
                        "The result could not be stored", detail=detail, code="result-store"
                    ) from error
                await asyncio.sleep(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    async def remove_expired(self) -> None:
        """Delete the files whose time is over; what cannot be deleted now is tried again another time.

        Raises:
            StoreUnavailable: the call store cannot be read or written.
        """
        while urls := await self._store.expired_files():
            deleted = [url for url in urls if await asyncio.to_thread(self._delete, url)]
            await self._store.forget_files(deleted)
            if len(deleted) < len(urls):
                break

    def _delete(self, url: str) -> bool:
        try:
            delete_file(url)
        except TransportError as error:
            log.warning("An expired result is not deleted yet: %s", error)
            return False
        return True

    async def _note(self, url: str, expires_time: datetime) -> None:
        """Note where a file is about to be, however long the call store is away: it is worth the wait."""
        while True:
            try:
                return await self._store.note_file(url, expires_time=expires_time)
            except StoreUnavailable as error:
                log.error("A result waits to be stored: %s", error)
                await asyncio.sleep(1.0)
