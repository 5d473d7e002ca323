"""Where large results lie that this service has put somewhere, so that it can take them away again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, delete, select, update

from longcall.service.store.tables import result_files

__all__ = ["expired_files", "forget_files", "note_file"]

_AT_ONCE: Final = 100


def note_file(db: Connection, url: str, *, expires_s: float) -> None:
    """Note that a file is about to be written; noted again, the later end counts."""
    again = update(result_files).where(result_files.c.url == url).values(expires_s=expires_s)
    if not db.execute(again).rowcount:
        db.execute(result_files.insert().values(url=url, expires_s=expires_s))


def expired_files(db: Connection, *, now_s: float) -> Sequence[str]:
    """Return files whose time is over, the oldest first; a hundred at most."""
    query = select(result_files.c.url).where(result_files.c.expires_s <= now_s)
    return db.execute(query.order_by(result_files.c.expires_s).limit(_AT_ONCE)).scalars().all()


def forget_files(db: Connection, urls: Collection[str]) -> None:
    """Forget files that are deleted."""
    db.execute(delete(result_files).where(result_files.c.url.in_(urls)))
