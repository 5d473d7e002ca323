"""What a run says: made fit, at a bounded rate, published, kept, and shown to whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.service.handlers import Work, make_service

from longcall.contract import MAX_LINE_LENGTH, Log, LogLine, Report, encode_report
from longcall.service.log_lines import LogBuffer, LogWriter
from longcall.testing.clock import VirtualClock

if TYPE_CHECKING:
    from tests.unit.service.conftest import Desk, OpenDesk


def writer() -> tuple[LogWriter, list[LogLine], VirtualClock]:
    clock, told = VirtualClock(), list[LogLine]()
    return LogWriter(told.append, clock=clock), told, clock


def test_each_line_of_a_message_is_one() -> None:
    log, told, clock = writer()
    assert log.write("one\ntwo\r\n\nfour", level="WARNING")
    assert told == [
        LogLine(message=text, level="warning", time=clock.now()) for text in ("one", "two", "", "four")
    ]


@pytest.mark.parametrize(
    ("level", "told_as"),
    [("debug", "debug"), ("Error", "error"), ("critical", "error"), ("warn", "warning"), ("loud", "info")],
)
def test_level_that_is_none_is_info(level: str, told_as: str) -> None:
    log, told, _ = writer()
    log.write("", level=level)
    assert [line.level for line in told] == [told_as]


@given(st.text(), st.integers(1, 20_000))
def test_any_text_is_told_in_lines_that_a_report_takes(text: str, times: int) -> None:
    log, told, _ = writer()
    log.write(text * times, level="info")
    assert all(line.message.isprintable() and len(line.message) <= MAX_LINE_LENGTH for line in told)
    encode_report(Report(correlation_id="a", id="1", source="s", body=Log(lines=tuple(told))))


def test_of_too_many_lines_the_number_is_told() -> None:
    log, told, clock = writer()
    assert sum(log.write(str(n), level="info") for n in range(1000)) == 200
    clock.advance(1)
    assert log.write("later", level="info")
    assert [line.message for line in told[199:]] == ["199", "(800 lines left out)", "later"]
    for n in range(50):
        log.write(str(n), level="info")
    log.end()
    log.end()
    assert [line.message for line in told[-2:]] == ["18", "(31 lines left out)"]


@given(st.lists(st.integers(0, 60_000), max_size=30))
def test_buffer_gives_out_what_was_put_in_or_says_what_it_could_not_hold(sizes: list[int]) -> None:
    buffer = LogBuffer()
    for size in sizes:
        buffer.put(LogLine(message="x" * size))
    taken = list(buffer.take())
    assert len(buffer) == 0
    assert sum(len(line.message) for line in taken) <= 256_100
    if len(taken) < len(sizes) or (taken and "left out" in taken[0].message):
        assert taken[0].message == f"({len(sizes) - len(taken) + 1} lines left out)"
        taken = taken[1:]
    assert [len(line.message) for line in taken] == sizes[len(sizes) - len(taken) :]


def test_buffer_of_very_many_lines_fits_a_report() -> None:
    buffer = LogBuffer()
    for number in range(5000):
        buffer.put(LogLine(message=str(number)))
    taken = buffer.take()
    assert [taken[0].message, taken[-1].message] == ["(4001 lines left out)", "4999"]
    assert len(taken) == 1000


def test_lines_that_were_given_back_come_first() -> None:
    buffer = LogBuffer()
    for name in "ab":
        buffer.put(LogLine(message=name))
    taken = buffer.take()
    buffer.put(LogLine(message="c"))
    buffer.give_back(taken)
    assert [line.message for line in buffer.take()] == ["a", "b", "c"]


async def published(desk: Desk, name: str) -> list[LogLine]:
    reports = await desk.reports(name)
    return [line for report in reports if isinstance(report.body, Log) for line in report.body.lines]


async def kept(desk: Desk, name: str) -> list[tuple[str, str]]:
    answer = await desk.http.get(f"/calls/{name}/log")
    assert answer.status_code == 200
    return [(line.get("level", "info"), line["message"]) for line in answer.json()["lines"]]


async def test_log_of_a_handler_is_published_and_kept(open_desk: OpenDesk) -> None:
    said = {"warning": "hot\x1b[31m!", "error": "burns"}
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/says", "a", body=said)
        told = [("warning", "hot!"), ("error", "burns"), ("info", "from a thread")]
        assert [(line.level, line.message) for line in await published(desk, "a")] == told
        assert await kept(desk, "a") == told


async def test_sequence_goes_up_over_the_log(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/says", "a", body={"info": "x"})
        sequences = [report.sequence or 0 for report in await desk.reports("a")]
    assert sequences == sorted(set(sequences))


async def test_handler_that_talks_without_end_fills_nothing(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/talks", "a")
        told = [line.message for line in await published(desk, "a")]
        assert 200 <= len(told) < 2000
        assert "left out" in told[-1]
        assert [text for _, text in await kept(desk, "a")] == told


async def test_log_is_asked_for_by_the_calls_id_whatever_it_is(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        for name in ("x/log", "x"):
            await desk.start("/says", name.replace("/", "%2F"), body={"info": name})
            await desk.reports(name)
        assert (await desk.http.get("/calls/x%2Flog")).json()["correlid"] == "x/log"
        assert (await desk.http.get("/calls/x%2Flog/log")).json()["lines"][0]["message"] == "x/log"
        assert (await desk.http.get("/calls/x/log")).json()["lines"][0]["message"] == "x"
        assert (await desk.http.get("/calls/nobody/log")).status_code == 404
        assert (await desk.http.get("/calls/x/log?after=x")).status_code == 422
        assert (await desk.http.get("/calls/x/log?before=1")).status_code == 422
