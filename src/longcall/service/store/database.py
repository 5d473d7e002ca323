"""The port to a database: transactions, off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection, inspect, select

from longcall.service.store.tables import LAYOUT, layout, metadata

__all__ = ["Database", "check_layout"]

T = TypeVar("T")


class Database(Protocol):
    """Where a store's rows are."""

    @property
    def is_durable(self) -> bool:
        """Whether what is committed outlives this process."""
        ...

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        """Run `transaction`, which may run twice, and return what it returns once that is committed.

        Cancelling does not stop it.

        Raises:
            StoreUnavailable: it could not be committed, and nothing was changed.
        """
        ...

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` returns of what is committed.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        ...

    async def notify(self) -> None:
        """Tell every replica that something has changed.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was asked for, and close. A repeat does nothing."""
        ...


def check_layout(connection: Connection, *, service: str) -> None:
    """Make the tables in an empty database; refuse one that is not of this program's making.

    Raises:
        OSError: it is another's, newer, or another service's.
    """
    present = set(inspect(connection).get_table_names())
    if layout.name not in present:
        if present and connection.dialect.name == "sqlite":
            raise OSError("it holds other tables and none of longcall's")
        metadata.create_all(connection)
        connection.execute(layout.insert().values(version=LAYOUT, service=service))
        return
    found = connection.execute(select(layout)).one()
    if found.version != LAYOUT:
        other = "a newer" if found.version > LAYOUT else "an earlier"
        raise OSError(
            f"it has layout {found.version}, and this program knows {LAYOUT}: {other} longcall made it"
        )
    if found.service != service:
        raise OSError(f"it holds the calls of the service {found.service!r}, not of {service!r}")
