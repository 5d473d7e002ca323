"""Log lines as JSON: `{"lines": [{"message": "…", "level": "warning", "time": "…"}]}`."""

from __future__ import annotations

from typing import Final

from longcall.contract.errors import ContractError
from longcall.contract.instants import decode_instant, encode_instant
from longcall.contract.json import JsonValue
from longcall.contract.report import LOG_LEVELS, Log, LogLevel, LogLine

__all__ = [
    "MAX_LINE_LENGTH",
    "MAX_LOG_LINES",
    "line_from_wire",
    "line_to_wire",
    "log_from_wire",
    "log_to_wire",
]

MAX_LOG_LINES: Final = 1000
MAX_LINE_LENGTH: Final = 8192
"""In characters."""

_INFO: Final[LogLevel] = "info"
_LEVELS: Final[dict[JsonValue, LogLevel]] = {level: level for level in LOG_LEVELS}


def log_to_wire(log: Log) -> dict[str, JsonValue]:
    """Return a log report's data."""
    return {"lines": [line_to_wire(line) for line in log.lines]}


def line_to_wire(line: LogLine) -> dict[str, JsonValue]:
    """Return one line."""
    wire: dict[str, JsonValue] = {"message": line.message}
    if line.level != _INFO:
        wire["level"] = line.level
    if line.time is not None:
        wire["time"] = encode_instant(line.time, field="lines.time")
    return wire


def log_from_wire(value: JsonValue) -> Log:
    """Read a log report; unknown members are ignored, null is none.

    Raises:
        ContractError: `value` is not an object with a list `lines`, or there are too many.
    """
    lines = value.get("lines") if isinstance(value, dict) else None
    if not isinstance(lines, list) or len(lines) > MAX_LOG_LINES:
        raise ContractError("lines", f"a list of at most {MAX_LOG_LINES}")
    return Log(lines=tuple(line_from_wire(line) for line in lines))


def line_from_wire(value: JsonValue) -> LogLine:
    """Read one line. A level that is not known here is info.

    Raises:
        ContractError: it has no `message`, a longer one than may be, or a member has the wrong type.
    """
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(message, str) or len(message) > MAX_LINE_LENGTH:
        raise ContractError("lines.message", f"a string of at most {MAX_LINE_LENGTH} characters")
    level, time = value.get("level"), value.get("time")
    if level is not None and not isinstance(level, str):
        raise ContractError("lines.level", "a string")
    if time is not None and not isinstance(time, str):
        raise ContractError("lines.time", "a string")
    return LogLine(
        message=message,
        level=_LEVELS.get(level, _INFO),
        time=None if time is None else decode_instant(time, field="lines.time"),
    )
