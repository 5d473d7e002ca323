"""Correlation ids: the caller's unguessable name for a call.

A minted id carries 160 random bits, so that nobody can complete, cancel or
overhear a call whose id they were not told. So does one that is derived from a
secret, for a caller that must find the same id again. An id that begins with an inbox's
name and a dot belongs to that inbox: `reports.3kf…` to the inbox `reports`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets

from longcall.contract.errors import ContractError

__all__ = [
    "MAX_ID_LENGTH",
    "check_correlation_id",
    "derived_token",
    "new_correlation_id",
    "new_inbox_correlation_id",
]

MAX_ID_LENGTH = 200
"""A Pub/Sub filter has at most 256 bytes; `attributes.correlid = ""` takes 24 of them."""

_RANDOM_BYTES = 20
_ALLOWED = re.compile(rf"[!#-\[\]-~]{{1,{MAX_ID_LENGTH}}}")


def new_correlation_id(token: str | None = None) -> str:
    """Mint an id that also is a valid Pub/Sub subscription id: `lc-` and 32 letters and digits.

    Args:
        token: those, if they shall not be random: of `derived_token`.
    """
    return f"lc-{token or _token()}"


def new_inbox_correlation_id(inbox: str, token: str | None = None) -> str:
    """Mint an id whose completion arrives in the shared inbox `inbox`; `token` as above."""
    return check_correlation_id(f"{inbox}.{token or _token()}")


def derived_token(secret: bytes, *names: str | int) -> str:
    """Return what makes an id of these names: always the same, and unguessable without the secret."""
    digest = hmac.digest(secret, json.dumps(["longcall id", *names]).encode(), hashlib.sha256)
    return _encode(digest[:_RANDOM_BYTES])


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
    return _encode(secrets.token_bytes(_RANDOM_BYTES))


def _encode(random: bytes) -> str:
    return base64.b32encode(random).decode().lower()
