"""Runs transactions on SQLite, off the event loop.

One thread writes, for SQLite has one writer at a time anyway and its own way of
waiting starves some of many. What is asked for meanwhile is the next transaction,
so that many requests share one commit. Another thread reads, and waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from longcall.service.errors import ServiceConfigError, StoreUnavailable
from longcall.service.store.database import check_layout

__all__ = ["SqliteDatabase"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_BUSY_S: Final = 5.0
"""How long a write waits for a lock that another program holds on the file."""
_MAX_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class _Job:
    transaction: Callable[[Connection], Any]
    done: Future[Any]


class SqliteDatabase:
    """A SQLite file that this process alone writes to, or a database in memory."""

    def __init__(self, path: Path | None, *, service: str) -> None:
        """Open the file, or make it; readable by its owner alone.

        Args:
            path: None: in memory, gone with this object.
            service: whose calls are kept.

        Raises:
            ServiceConfigError: the file is damaged, not ours, another service's, newer than this program, or
                cannot be opened.
        """
        self._path = path
        self._engine = _engine(path)
        self._inode = 0
        self._closed = False
        self._of_thread = threading.local()
        try:
            if path is not None:
                _make_private(path)
                self._inode = path.stat().st_ino
            with self._engine.begin() as connection:
                check_layout(connection, service=service)
        except (DBAPIError, OSError) as error:
            self._engine.dispose()
            raise ServiceConfigError("store", f"{path or 'memory'}: {_why(error)}{_REMEDY}") from error
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="longcall-store", daemon=True)
        self._writer.start()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="longcall-store-reader") if path else None

    @property
    def is_durable(self) -> bool:
        """Whether what is committed outlives this process."""
        return self._path is not None

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        """Run `transaction` with others that are asked for; see `Database.write`."""
        if self._closed:
            raise StoreUnavailable("the call store is closed")
        done: Future[T] = Future()
        self._jobs.put(_Job(transaction, done))
        return await asyncio.shield(asyncio.wrap_future(done))

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns; see `Database.read`."""
        if self._reader is None:
            return await self.write(query)
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, query)

    async def notify(self) -> None:
        """Do nothing: there are no replicas."""

    async def aclose(self) -> None:
        """Finish what was asked for, and close the file. A repeat does nothing."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self._writer.join()
        if self._reader is not None:
            self._reader.shutdown()
        self._engine.dispose()

    def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            connection = self._connection(reads=True)
            with connection.begin():
                return query(connection)
        except (DBAPIError, OSError) as error:
            raise StoreUnavailable(f"the call store cannot be read: {_why(error)}") from error

    def _write_all(self) -> None:
        """Be the writing thread: take what waits, commit it together."""
        while (job := self._jobs.get()) is not None:
            batch = [job]
            try:
                while len(batch) < _MAX_BATCH and (job := self._jobs.get_nowait()) is not None:
                    batch.append(job)
            except queue.Empty:
                pass
            self._commit(batch)
            if job is None:
                break

    def _commit(self, batch: list[_Job]) -> None:
        try:
            self._check_file()
            connection = self._connection(reads=False)
            with connection.begin():
                results = [job.transaction(connection) for job in batch]
        except (OperationalError, OSError) as error:  # nobody's fault: a full disk, a lock, no file
            for job in batch:
                job.done.set_exception(_translated(error))
            return
        except BaseException as error:
            if len(batch) == 1:
                batch[0].done.set_exception(_translated(error))
            else:  # one of them spoils it: the others need not suffer
                for job in batch:
                    self._commit([job])
            return
        for job, result in zip(batch, results, strict=True):
            job.done.set_result(result)

    def _connection(self, *, reads: bool) -> Connection:
        """Return this thread's connection, which stays open: to open one costs as much as a transaction."""
        found: Connection | None = getattr(self._of_thread, "connection", None)
        if found is None or found.invalidated or found.closed:
            found = self._of_thread.connection = self._engine.connect().execution_options(
                longcall_reads=reads
            )
        return found

    def _check_file(self) -> None:
        """Refuse to write to a file that nobody will find again."""
        if self._path is not None and self._path.stat().st_ino != self._inode:
            raise FileNotFoundError(f"{self._path} was replaced while it was in use")


_REMEDY = "; it was not touched: give another --store, or restore it from a copy"


def _engine(path: Path | None) -> Engine:
    if path is None:
        engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": _BUSY_S}
        )
    else:
        engine = create_engine(
            f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": _BUSY_S}
        )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late
    cursor = connection.cursor()
    # Only a file that is still empty takes it: ended calls give their room back.
    cursor.execute("PRAGMA auto_vacuum = FULL")
    cursor.execute("PRAGMA journal_mode = WAL")
    # An answered 202 survives a power cut too.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get("longcall_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


def _why(error: BaseException) -> str:
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


def _translated(error: BaseException) -> BaseException:
    if not isinstance(error, DBAPIError | OSError):
        return error
    translated = StoreUnavailable(f"the call store cannot be written: {_why(error)}")
    translated.__cause__ = error
    return translated
