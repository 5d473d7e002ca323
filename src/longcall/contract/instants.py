"""Instants on the wire: RFC 3339; written in UTC with `Z`, read with any offset."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from longcall.contract.errors import ContractError

__all__ = ["decode_instant", "encode_instant"]

# RFC 3339 section 5.6. `datetime.fromisoformat` alone takes more (weeks, a comma, seconds in the offset),
# and other things in each version of Python.
_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)(\.\d{1,40})?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def encode_instant(value: datetime, *, field: str) -> str:
    """Return an aware instant as RFC 3339 in UTC, to the microsecond.

    Raises:
        ContractError: `value` has no time zone, or is outside the years 1 to 9999 in UTC.
    """
    if value.utcoffset() is None:
        raise ContractError(field, "an instant needs a time zone; use datetime.now(UTC)")
    try:
        utc = value.astimezone(UTC)
    except OverflowError as error:
        raise ContractError(field, "an instant in the years 1 to 9999 in UTC") from error
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def decode_instant(text: str, *, field: str) -> datetime:
    """Return the aware UTC instant that RFC 3339 `text` names, to the microsecond.

    A leap second is the second after it, as Python has no name for one.

    Raises:
        ContractError: it names none.
    """
    try:
        found = _RFC_3339.fullmatch(text)
        if found is None:
            raise ValueError("not of the form")
        day, minute, second, fraction, offset = found.groups()
        leap = second == "60"
        second = "59" if leap else second
        value = datetime.fromisoformat(f"{day}T{minute}{second}{(fraction or '')[:7]}{offset.upper()}")
        return value.astimezone(UTC) + timedelta(seconds=leap)
    except (ValueError, OverflowError) as error:
        raise ContractError(
            field, f"{text[:40]!r} is no RFC 3339 instant, such as 2026-01-31T12:00:00Z"
        ) from error
