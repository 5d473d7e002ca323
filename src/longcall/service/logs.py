"""How a service logs: lines of text for a person, or one JSON object a line for a machine.

The names of the fields are those that Google Cloud Logging reads in what a container
writes (its page on structured logging), so that Cloud Run shows severity and trace.
What a line is about (call, handler, attempt) comes from the context it is logged in.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, get_args

from longcall.contract import JsonValue
from longcall.service.errors import ServiceConfigError
from longcall.service.wording import publishable

__all__ = ["LOG_FORMATS", "JsonFormatter", "LogContext", "LogFormat", "LogSettings", "log_context"]

LogFormat: TypeAlias = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)

_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_MAX_CHARACTERS: Final = 20_000
"""Of a message, and of a traceback: Cloud Logging takes 256 KiB a line, and a character may be six bytes."""
_TRACE_ID: Final = slice(3, 35)
_SPAN_ID: Final = slice(36, 52)
_FLAGS: Final = slice(53, 55)
_ODD: Final = "13579bdf"
"""Of the flags the lowest bit says whether the trace is sampled."""
_TRACEPARENT_LENGTH: Final = 55
_SEVERITIES: Final = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (logging.INFO, "INFO"),
    (logging.DEBUG, "DEBUG"),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogContext:
    """What log lines are about.

    Attributes:
        correlid: the call; empty: none.
        handler: the path of its handler; empty: none.
        attempt: which run of its work; None: none.
        traceparent: W3C Trace Context of the work; empty: none.
    """

    correlid: str = ""
    handler: str = ""
    attempt: int | None = None
    traceparent: str = ""

    @classmethod
    def current(cls) -> LogContext:
        """Return what is logged here is about."""
        return _current.get() or cls()

    @classmethod
    def from_wire(cls, wire: JsonValue) -> Self:
        """Read what `to_wire` wrote; for a child process."""
        assert isinstance(wire, dict)  # our own parent wrote it
        attempt = wire["attempt"]
        return cls(
            correlid=str(wire["correlid"]),
            handler=str(wire["handler"]),
            attempt=attempt if isinstance(attempt, int) else None,
            traceparent=str(wire["traceparent"]),
        )

    def to_wire(self) -> dict[str, JsonValue]:
        """Return the context as JSON."""
        return {
            "correlid": self.correlid,
            "handler": self.handler,
            "attempt": self.attempt,
            "traceparent": self.traceparent,
        }


_current: ContextVar[LogContext | None] = ContextVar("longcall_log_context", default=None)


@contextmanager
def log_context(
    *,
    correlid: str | None = None,
    handler: str | None = None,
    attempt: int | None = None,
    traceparent: str | None = None,
) -> Iterator[None]:
    """Say what is logged in the `with`, and in tasks begun in it, is about; None: as around it."""
    given = {"correlid": correlid, "handler": handler, "attempt": attempt, "traceparent": traceparent}
    changes = {name: value for name, value in given.items() if value is not None}
    token = _current.set(replace(LogContext.current(), **changes))  # type: ignore[arg-type] # each by its name
    try:
        yield
    finally:
        _current.reset(token)


class JsonFormatter(logging.Formatter):
    """Makes of a record one line of JSON.

    A record's own `correlid`, `handler` and `attempt` (from `extra`) win over its context. Of other
    extras nothing is written: they may hold what nobody meant for the log.
    """

    def __init__(self, *, project: str = "", about: LogContext | None = None) -> None:
        """Make a formatter.

        Args:
            project: of Google Cloud, where the traces are.
            about: what a line is about that is logged in no context of its own.
        """
        super().__init__()
        self.project = project
        self._about = about or LogContext()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, which ends without a line feed."""
        about = _current.get() or self._about
        entry: dict[str, JsonValue] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "severity": _severity(record.levelno),
            "logger": record.name,
            "message": _head(_message(record)),
        }
        for name in ("correlid", "handler", "attempt"):
            value = getattr(record, name, None) or getattr(about, name)
            if value:
                entry[name] = value if isinstance(value, int) else _head(str(value))
        entry |= self._trace(about.traceparent)
        exception = self._exception(record)
        if exception:
            entry["exception"] = _tail(exception)
        return json.dumps(entry)

    def _trace(self, traceparent: str) -> Mapping[str, JsonValue]:
        if len(traceparent) != _TRACEPARENT_LENGTH:
            return {}
        trace = traceparent[_TRACE_ID]
        where = f"projects/{self.project}/traces/{trace}" if self.project else trace
        return {
            "logging.googleapis.com/trace": where,
            "logging.googleapis.com/spanId": traceparent[_SPAN_ID],
            "logging.googleapis.com/trace_sampled": traceparent[_FLAGS][-1:] in _ODD,
        }

    def _exception(self, record: logging.LogRecord) -> str:
        parts = []
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(self.formatException(record.exc_info))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


def _head(text: str) -> str:
    return publishable(text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…")


def _tail(text: str) -> str:
    """Return the end of a traceback: there it says what went wrong."""
    return publishable(text if len(text) <= _MAX_CHARACTERS else "…" + text[-_MAX_CHARACTERS:])


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit: a line that says so is still a line
        return f"{record.msg} {record.args!r}"


def _severity(level: int) -> str:
    return next((name for least, name in _SEVERITIES if level >= least), "DEFAULT")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How a process logs, and the processes that it starts.

    Attributes:
        format: `text` or `json`.
        level: of the root logger, as Python counts.
        project: of Google Cloud, where the traces are; empty: it is not said.
    """

    format: LogFormat = "text"
    level: int = logging.INFO
    project: str = ""

    def __post_init__(self) -> None:
        """Refuse a format that is none."""
        if self.format not in LOG_FORMATS:
            raise ServiceConfigError("log-format", f"one of {', '.join(LOG_FORMATS)}")

    @classmethod
    def current(cls) -> Self:
        """Return how this process logs: as `apply` has set it, or somebody else."""
        root = logging.getLogger()
        for handler in root.handlers:
            if isinstance(handler.formatter, JsonFormatter):
                return cls(format="json", level=root.getEffectiveLevel(), project=handler.formatter.project)
        return cls(level=root.getEffectiveLevel())

    @classmethod
    def from_wire(cls, wire: JsonValue) -> Self:
        """Read what `to_wire` wrote; for a child process."""
        assert isinstance(wire, dict)  # our own parent wrote it
        return cls(
            format="json" if wire["format"] == "json" else "text",
            level=int(str(wire["level"])),
            project=str(wire["project"]),
        )

    def to_wire(self) -> dict[str, JsonValue]:
        """Return the settings as JSON."""
        return {"format": self.format, "level": self.level, "project": self.project}

    def apply(self, *, about: LogContext | None = None) -> None:
        """Have this process log so, to standard error, unless somebody has configured its logging already.

        As JSON also what Python itself would print there: warnings, and exceptions that end a thread or
        the process.

        Args:
            about: what a line is about that is logged in no context of its own; for a process that does
                the work of one call.
        """
        if self.level > logging.DEBUG:
            # It says of each call what the service's own lines say, in words of its own.
            logging.getLogger("procrastinate").setLevel(max(self.level, logging.WARNING))
        if self.format == "text":
            logging.basicConfig(level=self.level, format=_TEXT)
            return
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter(project=self.project, about=about))
        logging.basicConfig(level=self.level, handlers=[handler])
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_thread_death


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        log.critical("The process ends by an error: %s", kind.__name__, exc_info=(kind, error, traceback))


def _log_thread_death(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is not None and not isinstance(died.exc_value, SystemExit):
        name = died.thread.name if died.thread else "?"
        log.error("Thread %s ended by an error", name, exc_info=died.exc_value)
