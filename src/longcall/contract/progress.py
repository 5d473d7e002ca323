"""Progress as JSON: `{"done": 3, "total": 10, "unit": "models", "message": "…"}`."""

from __future__ import annotations

import sys

from longcall.contract.errors import ContractError
from longcall.contract.json import JsonValue
from longcall.contract.report import Progress

__all__ = ["progress_from_wire", "progress_to_wire"]


def progress_to_wire(progress: Progress) -> dict[str, JsonValue]:
    """Return the members that say something."""
    wire: dict[str, JsonValue] = {"done": progress.done}
    if progress.total is not None:
        wire["total"] = progress.total
    if progress.unit:
        wire["unit"] = progress.unit
    if progress.message:
        wire["message"] = progress.message
    return wire


def progress_from_wire(value: JsonValue) -> Progress:
    """Read a progress report; unknown members are ignored, null is none.

    Raises:
        ContractError: `value` is not an object with a number `done`, or a member has the wrong type.
    """
    if not isinstance(value, dict):
        raise ContractError("progress", "a JSON object")
    total = value.get("total")
    return Progress(
        done=_number(value.get("done"), field="progress.done"),
        total=None if total is None else _number(total, field="progress.total"),
        unit=_text(value.get("unit"), field="progress.unit"),
        message=_text(value.get("message"), field="progress.message"),
    )


def _number(value: JsonValue, *, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise ContractError(field, "a number, 0 or more")
    return value


def _text(value: JsonValue, *, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ContractError(field, "a string")
    return value
