"""Where the broker keeps what must survive it: one SQLite file.

Requests that come together share one commit. With `synchronous=NORMAL` and WAL it
is a write to the page cache, quick enough for the event loop: what was committed
survives the death of the process; a power cut may take the last moments.

`MemoryStore` takes its place where nothing has to last.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from longcall.broker.errors import StoreError

__all__ = ["MemoryStore", "SavedResource", "SavedState", "SqliteStore", "Store", "Write"]

_VERSION: Final = 2
_WAL_BYTES: Final = 4 * 1024 * 1024
_APPLICATION_ID: Final = 0x6C6F6E67
_SCHEMA: Final = """
CREATE TABLE resources (
    kind TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, active_s REAL NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE deliveries (
    holder INTEGER NOT NULL, message INTEGER NOT NULL, acked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (holder, message)
) WITHOUT ROWID;
"""

_Row: TypeAlias = tuple[int | float | str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """One statement of a transaction, for many rows."""

    statement: str
    rows: Sequence[_Row]

    @classmethod
    def resource(cls, kind: str, name: str, body: bytes, *, number: int = 0, active_s: float = 0.0) -> Write:
        """Save a resource, new or changed: see `SavedResource`."""
        return cls(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?)", [(kind, name, number, active_s, body)]
        )

    @classmethod
    def resource_gone(cls, kind: str, name: str) -> Write:
        """Delete a resource; what it holds is deleted by a write of its own."""
        return cls("DELETE FROM resources WHERE kind = ? AND name = ?", [(kind, name)])

    @classmethod
    def messages(cls, rows: Iterable[tuple[int, bytes]]) -> Write:
        """Save messages."""
        return cls("INSERT INTO messages VALUES (?, ?)", list(rows))

    @classmethod
    def messages_gone(cls, ids: Iterable[int]) -> Write:
        """Delete messages that nobody holds any more."""
        return cls("DELETE FROM messages WHERE id = ?", [(i,) for i in ids])

    @classmethod
    def deliveries(cls, rows: Iterable[tuple[int, int]]) -> Write:
        """Save that messages are held, and not acknowledged: pairs of holder and message."""
        return cls("INSERT OR REPLACE INTO deliveries VALUES (?, ?, 0)", list(rows))

    @classmethod
    def deliveries_acked(cls, rows: Iterable[tuple[int, int]]) -> Write:
        """Save that messages are acknowledged and kept all the same."""
        return cls("UPDATE deliveries SET acked = 1 WHERE holder = ? AND message = ?", list(rows))

    @classmethod
    def deliveries_gone(cls, rows: Iterable[tuple[int, int]]) -> Write:
        """Delete pairs of holder and message."""
        return cls("DELETE FROM deliveries WHERE holder = ? AND message = ?", list(rows))

    @classmethod
    def all_deliveries_gone(cls, holder: int) -> Write:
        """Delete everything of a holder."""
        return cls("DELETE FROM deliveries WHERE holder = ?", [(holder,)])


class SavedResource(NamedTuple):
    """Anything with a name.

    Attributes:
        kind: `topic`, `subscription`, `snapshot`, `schema`, `policy`.
        name: full path; unique for its kind.
        number: of what may hold messages: tells it from an earlier one of the same name.
        active_s: epoch seconds of the last activity, where that counts.
        body: serialized.
    """

    kind: str
    name: str
    number: int
    active_s: float
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """What was kept, at the start.

    Attributes:
        resources: by kind and name.
        messages: id and body, in the order of publishing.
        deliveries: number of the holder, message id, and whether the holder has acknowledged it.
    """

    resources: Sequence[SavedResource] = ()
    messages: Sequence[tuple[int, bytes]] = ()
    deliveries: Sequence[tuple[int, int, int]] = ()

    def of_kind(self, kind: str) -> list[SavedResource]:
        """Return the resources of a kind, by name."""
        return [resource for resource in self.resources if resource.kind == kind]


class Store(Protocol):
    """Keeps resources, messages, and who holds which of them."""

    def open(self) -> SavedState:
        """Open, and return what is there.

        Raises:
            StoreError: it cannot be used; nothing was changed.
        """
        ...

    def submit(
        self, writes: Sequence[Write], *, then: Callable[[], None] | None = None
    ) -> asyncio.Future[None]:
        """Queue writes, to be made durable all or none, in the order of the calls.

        Args:
            writes: one transaction, or part of one.
            then: called once they are durable, even if nobody waits any more; in the caller's loop.

        Returns:
            Done when they are durable; StoreError: none of them is, and nor is anything after them.
        """
        ...

    async def write(self, writes: Sequence[Write], *, then: Callable[[], None] | None = None) -> None:
        """As `submit`, and wait.

        Raises:
            StoreError: none of the writes is durable.
        """
        ...

    def close(self) -> None:
        """Write what is queued, and close. A repeat does nothing."""
        ...


class MemoryStore:
    """Keeps nothing."""

    def open(self) -> SavedState:
        """Return nothing."""
        return SavedState()

    def submit(
        self, writes: Sequence[Write], *, then: Callable[[], None] | None = None
    ) -> asyncio.Future[None]:
        """Do what comes then."""
        if then is not None:
            then()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def write(self, writes: Sequence[Write], *, then: Callable[[], None] | None = None) -> None:
        """Do what comes then."""
        if then is not None:
            then()

    def close(self) -> None:
        """Do nothing."""


class _Batch(NamedTuple):
    writes: Sequence[Write]
    then: Callable[[], None] | None
    done: asyncio.Future[None]


class SqliteStore:
    """Keeps everything in `broker.sqlite` in a folder. One process and one event loop at a time.

    What is submitted in one turn of the event loop is one transaction. After one that failed, every other
    fails too, until the store is closed and opened again: what was never durable must not be built upon.

    Args:
        folder: created if it is not there.
        power_safe: survive a power cut too (`synchronous=FULL`); each commit then waits for the disk, in
            a thread, and what comes meanwhile shares the next one.
        on_failure: called once after a failed commit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        power_safe: bool = False,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        self._path = folder / "broker.sqlite"
        self._wal = f"{self._path}-wal"
        self._power_safe = power_safe
        self._on_failure = on_failure
        self._db: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._queued: list[_Batch] = []
        self._is_busy = False
        self._failure: StoreError | None = None

    def open(self) -> SavedState:
        """Open the file, or make it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self._path.exists() or self._path.stat().st_size == 0
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.2)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot use {self._path}: {error}; give another --data-dir") from error
        try:
            if not is_new:
                self._check(db)
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._power_safe else 'NORMAL'}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            made = f"{_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};" if is_new else ""
            # Also for one that is there: if it cannot be written, that is to be known now.
            db.executescript(f"BEGIN EXCLUSIVE; {made} PRAGMA user_version = {_VERSION}; COMMIT;")
            state = _load(db)
        except sqlite3.Error as error:
            db.close()
            raise StoreError(
                f"cannot use {self._path}: {error}; it is damaged, in use by another broker, or the disk is "
                "full. Nothing in it was lost: end the other broker, make room, restore a copy, or give "
                "another --data-dir"
            ) from error
        except StoreError:
            db.close()
            raise
        self._db, self._failure = db, None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="longcall-broker-store")
        return state

    def submit(
        self, writes: Sequence[Write], *, then: Callable[[], None] | None = None
    ) -> asyncio.Future[None]:
        """Queue writes for the next transaction."""
        if self._db is None:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if self._failure is not None:
            done.set_exception(self._failure)
            return done
        self._queued.append(_Batch(writes, then, done))
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._commit_queued, loop)
        return done

    async def write(self, writes: Sequence[Write], *, then: Callable[[], None] | None = None) -> None:
        """Queue the writes and return when they are committed."""
        await self.submit(writes, then=then)

    def close(self) -> None:
        """Commit what is queued, and close."""
        if self._db is None or self._thread is None:
            return
        self._thread.shutdown()
        queued, self._queued = self._queued, []
        if queued and self._failure is None:
            _settle(queued, _commit(self._db, queued))
        self._db.close()
        self._db = self._thread = None
        self._is_busy = False

    def _check(self, db: sqlite3.Connection) -> None:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION_ID:
            raise StoreError(f"{self._path} is no store of this broker; give another --data-dir")
        if version != _VERSION:
            raise StoreError(
                f"{self._path} has version {version} and this broker writes {_VERSION}: "
                "use the longcall that wrote it, or another --data-dir"
            )
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreError(
                f"{self._path} is damaged ({problem}): restore a copy, or give another --data-dir"
            )

    def _commit_queued(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit in this thread, unless that waits for the disk."""
        if self._db is None or self._thread is None:  # closed meanwhile
            return
        batches, self._queued = self._queued, []
        if self._power_safe:
            committing = loop.run_in_executor(self._thread, _commit, self._db, batches)
            committing.add_done_callback(lambda done: self._committed(loop, batches, done.result()))
        else:
            self._committed(loop, batches, _commit(self._db, batches))

    def _committed(
        self, loop: asyncio.AbstractEventLoop, batches: Sequence[_Batch], error: StoreError | None
    ) -> None:
        if error is not None:
            self._failure = error
            batches, self._queued = [*batches, *self._queued], []
            self._on_failure()
        _settle(batches, error)
        if self._db is None or self._thread is None or self._failure is not None:
            self._is_busy = False
        elif os.stat(self._wal).st_size > _WAL_BYTES:  # noqa: PTH116 - a third of the time, at each commit
            checkpoint = loop.run_in_executor(self._thread, _checkpoint, self._db)
            checkpoint.add_done_callback(lambda _: self._continue(loop))
        else:
            self._continue(loop)

    def _continue(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_busy = bool(self._queued)
        if self._is_busy:
            loop.call_soon(self._commit_queued, loop)


def _commit(db: sqlite3.Connection, batches: Sequence[_Batch]) -> StoreError | None:
    try:
        db.execute("BEGIN IMMEDIATE")
        for batch in batches:
            for write in batch.writes:
                db.executemany(write.statement, write.rows)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        return StoreError(f"the store could not be written: {error}")
    return None


def _checkpoint(db: sqlite3.Connection) -> None:
    """Move the write-ahead log into the file. If that fails, the log only stays longer."""
    with suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _settle(batches: Sequence[_Batch], error: StoreError | None) -> None:
    for batch in batches:
        if error is None and batch.then is not None:
            batch.then()
        if batch.done.cancelled():
            continue
        if error is None:
            batch.done.set_result(None)
        else:
            batch.done.set_exception(error)
            batch.done.exception()  # not every submitter waits


def _load(db: sqlite3.Connection) -> SavedState:
    resources = db.execute("SELECT kind, name, number, active_s, body FROM resources ORDER BY kind, name")
    return SavedState(
        resources=[SavedResource(*row) for row in resources],
        messages=db.execute("SELECT id, body FROM messages ORDER BY id").fetchall(),
        deliveries=db.execute("SELECT holder, message, acked FROM deliveries ORDER BY message").fetchall(),
    )
