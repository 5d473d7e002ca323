"""JSON as the contract uses it: RFC 8259 in UTF-8, and of it what every language can hold (RFC 7493).

So no NaN, no number that overflows to an infinity, no half of a surrogate pair.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from longcall.contract.errors import ContractError

__all__ = ["JSON_TYPE", "JsonValue", "decode_json", "encode_json", "whole_number"]

JsonValue: TypeAlias = bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None

JSON_TYPE = "application/json"

_MAX_WHOLE_NUMBER = 2**53 - 1
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON (RFC 8259)")


def _finite(text: str) -> float:
    """Read a number; `1e999` would become an infinity, which nobody downstream could write."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def encode_json(value: JsonValue, *, field: str) -> bytes:
    """Return `value` as compact UTF-8 JSON.

    Raises:
        ContractError: `value` is not JSON, or holds NaN or an infinity, which JSON has no word for.
    """
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ContractError(field, f"not JSON ({error}): use None, numbers, strings, lists, dicts") from error


def decode_json(data: bytes, *, field: str) -> JsonValue:
    """Return the value that `data`, UTF-8 JSON, stands for.

    Raises:
        ContractError: `data` is not UTF-8 (a byte order mark is allowed), not JSON, holds a number
            beyond a double's range or half a surrogate pair, or is nested too deep.
    """
    try:
        # Bytes would be guessed to be UTF-16 or -32, and surrogates let through.
        text = data.decode("utf-8-sig")
        value: JsonValue = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if _ESCAPED_SURROGATE.search(text):
            encode_json(value, field=field)  # refuses half a pair; a whole one has become its character
    except (ValueError, RecursionError) as error:
        raise ContractError(field, f"not JSON: {error}") from error
    return value


def whole_number(value: JsonValue, *, at_most: int = _MAX_WHOLE_NUMBER) -> int | None:
    """Return a whole number from 0 to `at_most` as `int`; None when `value` is none.

    `60000.0` is one, as JSON Schema has it: some languages know no other numbers.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= at_most:
        return None
    return int(value) if value == int(value) else None
