"""Instants on the wire: RFC 3339, always in UTC, always with `Z`."""

from __future__ import annotations

from datetime import UTC, datetime

from longcall.contract.errors import ContractError

__all__ = ["decode_instant", "encode_instant"]


def encode_instant(value: datetime, *, field: str) -> str:
    """Return an aware instant as RFC 3339 in UTC, to the microsecond.

    Raises:
        ContractError: `value` has no time zone, or is outside the years 1 to 9999 in UTC.
    """
    if value.tzinfo is None:
        raise ContractError(field, "an instant needs a time zone; use datetime.now(UTC)")
    try:
        utc = value.astimezone(UTC)
    except OverflowError as error:
        raise ContractError(field, "an instant in the years 1 to 9999 in UTC") from error
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def decode_instant(text: str, *, field: str) -> datetime:
    """Return the aware UTC instant that RFC 3339 `text` names.

    Raises:
        ContractError: it names none.
    """
    try:
        value = datetime.fromisoformat(text.upper())  # RFC 3339 allows t and z
        if value.tzinfo is None:
            raise ValueError("no time zone")
        return value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ContractError(
            field, f"{text[:40]!r} is no RFC 3339 instant, such as 2026-01-31T12:00:00Z"
        ) from error
