"""Where the broker keeps what must survive it: one SQLite file, written by one thread.

Whatever is queued while a transaction commits goes into the next one, so that
many requests share one commit. With `synchronous=NORMAL` and WAL, what was
committed survives the death of the process; a power cut may take the last moments.

`MemoryStore` takes its place where nothing has to last.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from longcall.broker.errors import StoreError

__all__ = ["MemoryStore", "SavedResource", "SavedState", "SqliteStore", "Store", "Write"]

_VERSION: Final = 2
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


@dataclass(slots=True)
class _Batch:
    writes: Sequence[Write]
    then: Callable[[], None] | None
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)


class SqliteStore:
    """Keeps everything in `broker.sqlite` in a folder. One process at a time.

    Args:
        folder: created if it is not there.
        power_safe: survive a power cut too (`synchronous=FULL`); each commit then waits for the disk.
    """

    def __init__(self, folder: Path, *, power_safe: bool = False) -> None:
        self._path = folder / "broker.sqlite"
        self._synchronous = "FULL" if power_safe else "NORMAL"
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None

    def open(self) -> SavedState:
        """Open the file, or make it; start the writing thread."""
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
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            if is_new:
                db.executescript(
                    f"BEGIN EXCLUSIVE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
                    f"PRAGMA user_version = {_VERSION}; COMMIT;"
                )
            state = _load(db)
        except sqlite3.Error as error:
            db.close()
            raise StoreError(
                f"cannot use {self._path}: {error}; it is damaged or in use by another broker. Nothing was "
                "changed: end the other broker, restore a copy, or give another --data-dir"
            ) from error
        except StoreError:
            db.close()
            raise
        self._db = db
        self._thread = threading.Thread(target=self._run, args=(db,), name="longcall-broker-store")
        self._thread.start()
        return state

    def submit(
        self, writes: Sequence[Write], *, then: Callable[[], None] | None = None
    ) -> asyncio.Future[None]:
        """Queue writes for the next transaction."""
        if self._thread is None:
            raise StoreError("the store is closed")
        batch = _Batch(writes, then, asyncio.get_running_loop().create_future())
        self._queue.put(batch)
        return batch.done

    async def write(self, writes: Sequence[Write], *, then: Callable[[], None] | None = None) -> None:
        """Queue the writes and return when they are committed."""
        await self.submit(writes, then=then)

    def close(self) -> None:
        """End the thread, after what is queued."""
        if self._thread is not None and self._db is not None:
            self._queue.put(None)
            self._thread.join()
            self._db.close()
            self._thread = self._db = None

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

    def _run(self, db: sqlite3.Connection) -> None:
        """Write batches until the queue says that it is the end."""
        ended = False
        while not ended:
            batches = []
            item = self._queue.get()
            while item is not None:
                batches.append(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            ended = item is None
            if batches:
                _settle(batches, _commit(db, batches))


def _commit(db: sqlite3.Connection, batches: Sequence[_Batch]) -> StoreError | None:
    try:
        db.execute("BEGIN IMMEDIATE")
        for batch in batches:
            for write in batch.writes:
                db.executemany(write.statement, write.rows)
        db.execute("COMMIT")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        return StoreError(f"the store could not be written: {error}")
    return None


def _settle(batches: Sequence[_Batch], error: StoreError | None) -> None:
    def settle() -> None:
        for batch in batches:
            if error is None and batch.then is not None:
                batch.then()
            if batch.done.cancelled():
                continue
            if error is None:
                batch.done.set_result(None)
            else:
                batch.done.set_exception(error)

    batches[0].loop.call_soon_threadsafe(settle)


def _load(db: sqlite3.Connection) -> SavedState:
    resources = db.execute("SELECT kind, name, number, active_s, body FROM resources ORDER BY kind, name")
    return SavedState(
        resources=[SavedResource(*row) for row in resources],
        messages=db.execute("SELECT id, body FROM messages ORDER BY id").fetchall(),
        deliveries=db.execute("SELECT holder, message, acked FROM deliveries ORDER BY message").fetchall(),
    )
