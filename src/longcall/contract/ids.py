"""Correlation ids: the caller's unguessable name for a call.

A minted id carries 160 random bits, so that nobody can complete, cancel or
overhear a call whose id they were not told. An id that begins with an inbox's
name and a dot belongs to that inbox: `reports.3kf…` to the inbox `reports`.
"""

from __future__ import annotations

import base64
import re
import secrets

from longcall.contract.errors import ContractError

__all__ = ["MAX_ID_LENGTH", "check_correlation_id", "new_correlation_id", "new_inbox_correlation_id"]

MAX_ID_LENGTH = 200
"""A Pub/Sub filter has at most 256 bytes; `attributes.correlid = ""` takes 24 of them."""

_RANDOM_BYTES = 20
_ALLOWED = re.compile(rf"[!#-\[\]-~]{{1,{MAX_ID_LENGTH}}}")


def new_correlation_id() -> str:
    """Mint an id that also is a valid Pub/Sub subscription id: `lc-` and 32 letters and digits."""
    return f"lc-{_token()}"


def new_inbox_correlation_id(inbox: str) -> str:
    """Mint an id whose completion arrives in the shared inbox `inbox`."""
    return check_correlation_id(f"{inbox}.{_token()}")


def check_correlation_id(value: str, *, field: str = "correlid") -> str:
    """Return `value` when it can be a correlation id.

    Any visible ASCII but the double quote and the backslash will do, up to
    `MAX_ID_LENGTH` characters, so that callers that mint their own (a UUID, an
    Airflow run id) are understood.

    Raises:
        ContractError: it cannot.
    """
    if not _ALLOWED.fullmatch(value):
        raise ContractError(
            field,
            f"a correlation id has 1 to {MAX_ID_LENGTH} visible ASCII characters, no quotes or backslash; "
            f"this one has {len(value)} characters",
        )
    return value


def _token() -> str:
    return base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode().lower()
