"""Log lines as JSON: one object a line, whatever is logged, with what it is about."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from longcall.service import ServiceConfigError
from longcall.service.logs import JsonFormatter, LogContext, LogSettings, log_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"

Entry = dict[str, Any]


class Sink(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def sink() -> Sink:
    sink = Sink()
    sink.setFormatter(JsonFormatter(project="my-project"))
    return sink


@pytest.fixture
def log(sink: Sink) -> Iterator[logging.Logger]:
    log = logging.getLogger("tests.logs")
    log.addHandler(sink)
    log.setLevel(1)
    yield log
    log.removeHandler(sink)


@pytest.fixture
def entry(sink: Sink) -> Callable[[], Entry]:
    def last() -> Entry:
        (line,) = sink.lines
        assert "\n" not in line
        return dict(json.loads(line))

    return last


def test_line_says_when_how_bad_who_and_what(log: logging.Logger, entry: Callable[[], Entry]) -> None:
    log.warning("disk %s is %d %% full", "a", 93)

    line = entry()
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {"severity": "WARNING", "logger": "tests.logs", "message": "disk a is 93 % full"}


def test_line_says_what_it_is_about(log: logging.Logger, entry: Callable[[], Entry]) -> None:
    with (
        log_context(correlid="an-id", handler="/train", traceparent=TRACEPARENT),
        log_context(attempt=2),
    ):
        log.info("at work")

    line = entry()
    assert (line["correlid"], line["handler"], line["attempt"]) == ("an-id", "/train", 2)
    assert line["logging.googleapis.com/trace"] == f"projects/my-project/traces/{TRACE}"
    assert line["logging.googleapis.com/spanId"] == SPAN
    assert line["logging.googleapis.com/trace_sampled"] is True


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_sampled_is_the_lowest_of_the_flags(
    log: logging.Logger, entry: Callable[[], Entry], flags: str, is_sampled: bool
) -> None:
    with log_context(traceparent=TRACEPARENT[:-2] + flags):
        log.info("so")

    assert entry()["logging.googleapis.com/trace_sampled"] is is_sampled


def test_context_ends_with_its_block(log: logging.Logger, entry: Callable[[], Entry]) -> None:
    with pytest.raises(ValueError, match="as tested"), log_context(correlid="an-id"):
        raise ValueError("as tested")
    log.info("later")

    assert "correlid" not in entry()


async def test_each_task_has_its_context(log: logging.Logger, sink: Sink) -> None:
    async def work(number: int) -> None:
        with log_context(correlid=f"call-{number}"):
            await asyncio.sleep(0)
            await asyncio.create_task(said(number))
            await asyncio.to_thread(log.info, "%d", number)

    async def said(number: int) -> None:
        log.info("%d", number)

    await asyncio.gather(*(work(number) for number in range(5)))

    lines = [json.loads(line) for line in sink.lines]
    assert len(lines) == 10
    assert all(line["correlid"] == f"call-{line['message']}" for line in lines)


def test_extra_wins_and_other_extras_stay_out(log: logging.Logger, entry: Callable[[], Entry]) -> None:
    with log_context(correlid="around", attempt=1):
        log.info("so", extra={"correlid": "given", "password": "secret", "severity": "none"})

    line = entry()
    assert (line["correlid"], line["attempt"], line["severity"]) == ("given", 1, "INFO")
    assert "secret" not in str(line)


@pytest.mark.parametrize(
    ("level", "severity"),
    [(50, "CRITICAL"), (45, "ERROR"), (30, "WARNING"), (25, "INFO"), (10, "DEBUG"), (5, "DEFAULT")],
)
def test_severity_is_one_that_cloud_logging_knows(
    log: logging.Logger, entry: Callable[[], Entry], level: int, severity: str
) -> None:
    log.log(level, "so")

    assert entry()["severity"] == severity


def test_exception_stands_whole_in_the_one_line(log: logging.Logger, entry: Callable[[], Entry]) -> None:
    try:
        raise ValueError("as tested")
    except ValueError:
        log.exception("the handler failed")

    line = entry()
    assert line["message"] == "the handler failed"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: as tested")


def test_log_exception_without_one_is_no_exception(log: logging.Logger, entry: Callable[[], Entry]) -> None:
    log.error("so", exc_info=True)

    assert "exception" not in entry()


@pytest.mark.parametrize(
    "message", ["two\nlines", '"quoted"', "\ud800 half a pair", "é\u2028\x00", "{", "\x1b[31mred"]
)
def test_any_text_is_one_line_of_json(
    log: logging.Logger, sink: Sink, entry: Callable[[], Entry], message: str
) -> None:
    log.info(message)

    assert entry()["message"] == message.encode("utf-8", "backslashreplace").decode()
    assert sink.lines[0].isascii()


def test_endless_text_ends_and_a_traceback_keeps_its_end(
    log: logging.Logger, sink: Sink, entry: Callable[[], Entry]
) -> None:
    try:
        raise ValueError("é" * 1_000_000 + " the end")
    except ValueError:
        log.exception("x" * 1_000_000)

    assert len(sink.lines[0]) < 256 * 1024
    assert entry()["exception"].endswith("the end")


@pytest.mark.parametrize("arguments", [("a", "b"), (1,), ({"a": 1},)])
def test_arguments_that_do_not_fit_cost_no_line(arguments: tuple[object, ...]) -> None:
    record = logging.LogRecord("user", logging.INFO, __file__, 1, "%d and %(b)d", arguments, None)

    assert "%d and %(b)d" in json.loads(JsonFormatter().format(record))["message"]


@pytest.mark.parametrize("traceparent", ["", "nonsense", TRACEPARENT + "x"])
def test_trace_that_is_none_is_left_out(
    log: logging.Logger, entry: Callable[[], Entry], traceparent: str
) -> None:
    with log_context(correlid="an-id", traceparent=traceparent):
        log.info("so")

    assert not [name for name in entry() if name.startswith("logging.googleapis.com")]


def test_process_of_one_call_says_so_in_every_thread() -> None:
    program = f"""
import logging, threading
from longcall.service.logs import LogContext, LogSettings
LogSettings(format="json", project="p").apply(about=LogContext(correlid="an-id", handler="/train", attempt=3,
    traceparent={TRACEPARENT!r}))
threading.Thread(target=lambda: logging.getLogger("user").info("from a thread")).start()
"""
    (line,) = _run(program)

    assert (line["correlid"], line["handler"], line["attempt"]) == ("an-id", "/train", 3)
    assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"


def test_what_python_prints_is_json_too() -> None:
    program = """
import threading, warnings
from longcall.service.logs import LogSettings
LogSettings(format="json").apply()
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0, name="mine")
thread.start()
thread.join()
raise ValueError("two\\nlines")
"""
    warned, thread, ended = _run(program, status=1)

    assert "old" in warned["message"]
    assert warned["severity"] == "WARNING"
    assert thread["message"] == "Thread mine ended by an error"
    assert thread["exception"].endswith("ZeroDivisionError: division by zero")
    assert ended["severity"] == "CRITICAL"
    assert "ValueError: two" in ended["exception"]


def test_child_logs_as_its_parent() -> None:
    program = """
import json, logging
from longcall.service.logs import LogContext, LogSettings
LogSettings(format="json", level=logging.WARNING, project="p").apply()
wire = json.loads(json.dumps(LogSettings.current().to_wire()))
assert LogSettings.from_wire(wire) == LogSettings(format="json", level=logging.WARNING, project="p"), wire
logging.info("not this")
logging.warning("but this")
"""
    assert [line["message"] for line in _run(program)] == ["but this"]


def test_text_stays_as_it_was() -> None:
    program = """
import logging
from longcall.service.logs import LogSettings
LogSettings(level=logging.DEBUG).apply()
assert LogSettings.current() == LogSettings(level=logging.DEBUG)
logging.getLogger("user").debug("so")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr.endswith(" DEBUG   user: so\n")


def test_unknown_format_is_refused() -> None:
    with pytest.raises(ServiceConfigError, match="log-format: one of text, json"):
        LogSettings(format="xml")  # type: ignore[arg-type]


def test_formatter_for_one_call_yields_to_the_context(log: logging.Logger, sink: Sink) -> None:
    sink.setFormatter(JsonFormatter(about=LogContext(correlid="default")))
    log.info("a")
    with log_context(correlid="inner"):
        log.info("b")

    assert [json.loads(line)["correlid"] for line in sink.lines] == ["default", "inner"]


def _run(program: str, *, status: int = 0) -> list[Entry]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]
