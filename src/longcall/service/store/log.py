"""The log of each call: what its runs had to say last, in rows beside it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, select

from longcall.contract import LogLine
from longcall.contract.log import line_from_wire, line_to_wire
from longcall.service.store.tables import calls, log_lines
from longcall.service.store.values import StoredLine

__all__ = ["LOG_BYTES", "add_lines", "forget_lines", "read_lines"]

_MAX_LINES: Final = 1000
_MAX_BYTES: Final = 256_000

LOG_BYTES: Final[ColumnElement[int]] = func.coalesce(
    select(func.sum(log_lines.c.bytes))
    .where(log_lines.c.call_number == calls.c.number)
    .correlate(calls)
    .scalar_subquery(),
    0,
)
"""What a call's log takes, where a statement changes that call."""


def add_lines(db: Connection, number: int, lines: Sequence[LogLine], *, attempt: int) -> None:
    """Add lines to a call's log, and remove the oldest beyond 1000 or 256 kB; the newest row stays.

    Args:
        db: the transaction.
        number: of the call.
        lines: what was said, at least one.
        attempt: of the run that said it.
    """
    of_call = log_lines.c.call_number == number
    newest_first = select(log_lines.c.first, log_lines.c.lines_count, log_lines.c.bytes)
    rows = db.execute(newest_first.where(of_call).order_by(log_lines.c.first.desc())).all()
    text = json.dumps([line_to_wire(line) for line in lines], ensure_ascii=False)
    size = len(text.encode())
    new = {"call_number": number, "first": rows[0].first + rows[0].lines_count if rows else 1}
    new |= {"lines_count": len(lines), "bytes": size, "attempt": attempt, "lines": text}
    db.execute(log_lines.insert().values(new))
    count = len(lines)
    for row in rows:
        count, size = count + row.lines_count, size + row.bytes
        if count > _MAX_LINES or size > _MAX_BYTES:
            db.execute(delete(log_lines).where(of_call, log_lines.c.first <= row.first))
            break


def read_lines(db: Connection, correlation_id: str, *, after: int) -> Sequence[StoredLine]:
    """Return the kept lines of a call whose number is greater than `after`, the oldest first."""
    query = (
        select(log_lines.c.first, log_lines.c.attempt, log_lines.c.lines)
        .join(calls, calls.c.number == log_lines.c.call_number)
        .where(calls.c.correlid == correlation_id, log_lines.c.first + log_lines.c.lines_count > after + 1)
        .order_by(log_lines.c.first)
    )
    return [
        StoredLine(number=number, attempt=row.attempt, line=line_from_wire(wire))
        for row in db.execute(query)
        for number, wire in enumerate(json.loads(row.lines), row.first)
        if number > after
    ]


def forget_lines(db: Connection, numbers: Collection[int]) -> None:
    """Remove the logs of calls."""
    db.execute(delete(log_lines).where(log_lines.c.call_number.in_(numbers)))
