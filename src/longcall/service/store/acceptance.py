"""A request taken in: a new call, or the one that its correlation id names."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from longcall.contract.signing import MAX_SIGNING_KEYS
from longcall.service.store.rows import STATUS, CallRow, Values
from longcall.service.store.tables import IS_OPEN, calls

__all__ = ["accept"]

_ADD: Final = {
    name: dialect.insert(calls).on_conflict_do_nothing().returning(*STATUS)
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql))
}
_FIRST_AND_LAST_OPEN: Final = select(
    select(func.min(calls.c.number)).where(IS_OPEN).scalar_subquery(),
    select(func.max(calls.c.number)).where(IS_OPEN).scalar_subquery(),
)


def accept(db: Connection, new: Values, max_open: int) -> tuple[CallRow | None, bool]:
    """Add a call, or find it.

    Returns:
        Its row, and whether it is new; no row when more than `max_open` would be open.
    """
    row = db.execute(_ADD[db.dialect.name], new).one_or_none()
    if row is None:
        known = db.execute(select(*STATUS).where(calls.c.correlid == new["correlid"])).one()
        _add_keys(db, known, new)
        return known, False
    if _count_open(db, max_open) > max_open:
        db.execute(delete(calls).where(calls.c.correlid == new["correlid"]))
        return None, False
    return row, True


def _add_keys(db: Connection, known: CallRow, new: Values) -> None:
    """Have what is still to be published signed for who asks again, too; of many keys the newest."""
    keys = list(dict.fromkeys(f"{known.signing_keys} {new['signing_keys']}".split()))
    text = " ".join(keys[-MAX_SIGNING_KEYS:])
    is_same = (known.digest, known.handler) == (new["digest"], new["handler"])
    if is_same and text != known.signing_keys and known.published_s is None:
        db.execute(update(calls).where(calls.c.number == known.number).values(signing_keys=text))


def _count_open(db: Connection, enough: int) -> int:
    """Return how many calls have not ended; something more, if that is no more than `enough` and cheaper."""
    first, last = db.execute(_FIRST_AND_LAST_OPEN).one()
    if first is None:
        return 0
    if last - first < enough:
        return int(last - first + 1)
    return int(db.execute(select(func.count()).where(IS_OPEN)).scalar_one())
