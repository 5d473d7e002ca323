"""Where a store is, and that one process alone works on it."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from longcall._core.clock import Clock
from longcall.service.errors import ServiceConfigError
from longcall.service.store.calls import CallStore
from longcall.service.store.database import Database
from longcall.service.store.sqlite import SqliteDatabase

__all__ = ["MEMORY", "is_shared", "open_store"]

MEMORY: Final = "memory"

_FILE: Final = "calls.db"
_LOCK: Final = "lock"


def open_store(where: str, *, service: str, clock: Clock) -> CallStore:
    """Open a store, or make it. Blocks for some milliseconds.

    Args:
        where: a folder, which is made if need be; `memory`; or `postgresql://…`.
        service: whose calls are kept there.
        clock: the clocks to go by.

    Raises:
        ServiceConfigError: it cannot be opened, or another process works on it.
    """
    if where == MEMORY:
        return CallStore(SqliteDatabase(None, service=service), clock=clock)
    if is_shared(where):
        return CallStore(_postgres(where, service), clock=clock)
    if "://" in where:
        raise ServiceConfigError("store", f"a folder, {MEMORY!r}, or postgresql://…")
    folder = Path(where)
    with ExitStack() as unless_opened:
        lock = _lock(folder)
        unless_opened.callback(os.close, lock)
        store = CallStore(SqliteDatabase(folder / _FILE, service=service), clock=clock, lock=lock)
        unless_opened.pop_all()
    return store


def is_shared(where: str) -> bool:
    """Tell whether replicas may share a store that is there."""
    return where.startswith(("postgresql://", "postgres://"))


def _postgres(url: str, service: str) -> Database:
    try:
        from longcall.service.store.postgres import PostgresDatabase

        return PostgresDatabase(url, service=service)
    except ImportError as error:
        raise ServiceConfigError("store", f"{error}: pip install 'longcall[postgres]'") from error


def _lock(folder: Path) -> int:
    """Return the descriptor that holds the folder for this process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceConfigError("store", f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "another"
        os.close(lock)
        raise ServiceConfigError(
            "store",
            f"process {holder} works on {folder}, and one process alone may: end it, give each service "
            "a --store of its own, or let several share a postgresql://…",
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
