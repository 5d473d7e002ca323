"""Reports: what a service says about a call, from accepted to its completion.

A completion is the last report of a call: succeeded, failed or cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

from longcall.contract.errors import ContractError
from longcall.contract.json import JSON_TYPE, JsonValue, decode_json, encode_json
from longcall.contract.problem import Problem
from longcall.contract.reference import DataReference

__all__ = [
    "Accepted",
    "Cancelled",
    "Completion",
    "Failed",
    "Heartbeat",
    "Log",
    "LogLevel",
    "LogLine",
    "Progress",
    "Report",
    "ReportBody",
    "Succeeded",
    "is_completion",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The service has taken the call on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the work has come.

    Attributes:
        done: finished so far, in `unit`s.
        total: of how many; None when nobody knows.
        unit: what is counted: `models`, `rows`, `bytes`.
        message: a line for the person who watches.
    """

    done: float
    total: float | None = None
    unit: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The call is alive; nothing else is new."""


LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that the work has to say.

    Attributes:
        message: for a person. It comes from the work, so whoever prints it makes it harmless first.
        level: how grave it is.
        time: when it was said, aware.
    """

    message: str
    level: LogLevel = "info"
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What the work has to say since the last such report.

    Attributes:
        lines: the oldest first; at most `MAX_LOG_LINES`, each of at most `MAX_LINE_LENGTH` characters.
    """

    lines: tuple[LogLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The work is done and this is its result.

    Attributes:
        data: the result as it stands on the wire.
        content_type: its media type; empty for a bare service, which says nothing of it.
        reference: where the result lies, when it is not in `data`; to be fetched, with care.
    """

    data: bytes = b""
    content_type: str = ""
    reference: DataReference | None = None

    def __post_init__(self) -> None:
        """Refuse a result that is in two places."""
        if self.data and self.reference is not None:
            raise ContractError("result", "either in the report or by reference")

    @classmethod
    def of(cls, value: JsonValue) -> Succeeded:
        """Wrap a JSON value.

        Raises:
            ContractError: `value` is not JSON.
        """
        return cls(data=encode_json(value, field="result"), content_type=JSON_TYPE)

    @property
    def _media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether `content_type` says that the data is JSON."""
        return self._media_type == JSON_TYPE or self._media_type.endswith("+json")

    def value(self) -> JsonValue | bytes:
        """Return the result as Python sees it: JSON decoded, text as `str`, anything else as bytes.

        Data of no declared type is text when it is valid UTF-8. It is never guessed to be JSON, so
        that a bare service's `b"12"` does not turn from text to a number by accident.

        Raises:
            ContractError: the data is not what `content_type` says, or lies elsewhere.
        """
        if self.reference is not None:
            raise ContractError("result", "it lies elsewhere: fetch it first")
        media_type = self._media_type
        if self.is_json:
            return decode_json(self.data, field="result")
        if media_type and not media_type.startswith("text/"):
            return self.data
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The work has failed, and why."""

    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The work was stopped because somebody asked for it."""

    detail: str = ""


Completion: TypeAlias = Succeeded | Failed | Cancelled
ReportBody: TypeAlias = Accepted | Progress | Heartbeat | Log | Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One message about a call.

    Attributes:
        correlation_id: the call.
        body: what is said of it.
        id: unique within `source`; the same report published twice keeps it (CloudEvents `id`).
            Empty for a bare service's completion.
        source: URI reference of the service (CloudEvents `source`).
        time: when it happened, aware.
        attempt: which run of the work speaks, from 1; None: the service does not count them.
        sequence: rises by at least one from report to report of an attempt.
        traceparent: W3C Trace Context of the work.
    """

    correlation_id: str
    body: ReportBody
    id: str = ""
    source: str = ""
    time: datetime | None = None
    attempt: int | None = None
    sequence: int | None = None
    traceparent: str = ""


def is_completion(body: ReportBody) -> bool:
    """Tell whether `body` ends its call."""
    return isinstance(body, Succeeded | Failed | Cancelled)
