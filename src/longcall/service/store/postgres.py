"""Runs transactions on PostgreSQL, in threads, for any number of replicas."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from longcall.service.errors import ServiceConfigError, StoreUnavailable
from longcall.service.store.database import check_layout

__all__ = ["CHANNEL", "PostgresDatabase", "advisory_key"]

T = TypeVar("T")

CHANNEL: Final = "longcall"
"""Where replicas tell each other that something has changed (`LISTEN`)."""

_THREADS: Final = 8
_CONNECT_S: Final = 5
_STATEMENT_MS: Final = 30_000


class PostgresDatabase:
    """A database that replicas share; one service a schema (`?options=-csearch_path=NAME`)."""

    def __init__(self, url: str, *, service: str) -> None:
        """Connect, and make the tables if they are not there.

        Args:
            url: `postgresql://…`, as libpq has it.
            service: whose calls are kept.

        Raises:
            ServiceConfigError: it cannot be reached, is newer than this program, or is another service's.
        """
        self._engine = create_engine(
            re.sub("^postgres(ql)?://", "postgresql+psycopg://", url),
            pool_size=_THREADS,
            max_overflow=0,
            connect_args={"connect_timeout": _CONNECT_S},
        )
        event.listen(self._engine, "connect", _limit_statements)
        try:
            with self._engine.begin() as connection:
                # Replicas that start together make the tables one after the other.
                key = advisory_key("layout")
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
                check_layout(connection, service=service)
        except (SQLAlchemyError, OSError) as error:
            self._engine.dispose()
            raise ServiceConfigError("store", f"{_without_secrets(self._engine)}: {_why(error)}") from error
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="longcall-store")

    @property
    def is_durable(self) -> bool:
        """Whether what is committed outlives this process: it does."""
        return True

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        """Run `transaction` in one of its own; see `Database.write`."""
        return await self._run(transaction)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns; see `Database.read`."""
        return await self._run(query)

    async def notify(self) -> None:
        """Tell every replica that something has changed.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        await self._run(lambda db: db.execute(text(f"NOTIFY {CHANNEL}")))

    async def aclose(self) -> None:
        """Finish what was asked for, and close. A repeat does nothing."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._engine.dispose()

    async def _run(self, transaction: Callable[[Connection], T]) -> T:
        try:
            done = asyncio.get_running_loop().run_in_executor(self._threads, self._transact, transaction)
        except RuntimeError as error:  # the threads have ended
            raise StoreUnavailable("the call store is closed") from error
        return await asyncio.shield(done)

    def _transact(self, transaction: Callable[[Connection], T]) -> T:
        for is_last in (False, True):
            try:
                with self._engine.begin() as connection:
                    return transaction(connection)
            except SQLAlchemyError as error:
                is_stale = isinstance(error, DBAPIError) and error.connection_invalidated
                if is_last or not is_stale:  # a connection of the pool that PostgreSQL had ended: once more
                    raise StoreUnavailable(f"the call store cannot be used: {_why(error)}") from error
        raise AssertionError


def _limit_statements(connection: psycopg.Connection[Any], _record: object) -> None:
    connection.execute(f"SET statement_timeout = {_STATEMENT_MS}")
    connection.commit()


def advisory_key(name: str) -> int:
    """Return the key of an advisory lock of ours."""
    return int.from_bytes(hashlib.sha256(f"longcall {name}".encode()).digest()[:8], "big", signed=True)


def _without_secrets(engine: object) -> str:
    return str(getattr(engine, "url", ""))  # SQLAlchemy prints the password as stars


def _why(error: BaseException) -> str:
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return text.strip().partition("\n")[0]
