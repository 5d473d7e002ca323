"""The pure parts of commands as handlers: templates, lines, outcomes, specifications."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.contract import CallRequest, LogLine, Progress
from longcall.service import CallFailed, Service, ServiceConfigError
from longcall.service.arguments import InvalidArguments
from longcall.service.command import CommandHandler, CommandSpec
from longcall.service.command.lines import (
    MAX_LINE_BYTES,
    Line,
    LineSplitter,
    Tail,
    parse_line,
)
from longcall.service.command.outcome import check_exit, not_started, result_of_line
from longcall.service.command.template import MAX_WORD_BYTES, Template


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("plain", "plain"),
        ("--date={date}", "--date=2026-01-31"),
        ("{model.name}/{n}{yes}", "svc/3true"),
        ("{{date}}", "{date}"),
        ("{list}", '[1, "ä"]'),
        ("{minus}", "-3"),
        ("x{dash}", "x-rf"),
    ],
)
def test_template_is_filled(word: str, filled: str) -> None:
    arguments = {"date": "2026-01-31", "model": {"name": "svc"}, "n": 3, "yes": True, "list": [1, "ä"]}
    assert Template.of(word).fill({**arguments, "minus": -3, "dash": "-rf"}) == filled


@given(st.text())
def test_escaped_text_stands_as_it_was(text: str) -> None:
    assert Template.of(text.replace("{", "{{").replace("}", "}}")).fill({}) == text


@pytest.mark.parametrize("word", ["{", "}", "{}", "{a", "{print $1}", "{a..b}", "{a!r}", "{{a}"])
def test_word_that_is_no_template_is_refused(word: str) -> None:
    with pytest.raises(ServiceConfigError, match="brace"):
        Template.of(word)


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (None, "missing"),
        ("a\0b", "NUL"),
        ("--help", "option"),
        ("x" * MAX_WORD_BYTES + "x", "bytes"),
    ],
)
def test_value_that_cannot_be_a_word_is_refused_by_name(value: str | None, detail: str) -> None:
    with pytest.raises(InvalidArguments) as raised:
        Template.of("{model.name}").fill({"model": {"name": value}})
    (error,) = raised.value.errors
    assert error["pointer"] == "/model/name"
    assert detail in error["detail"]


def test_missing_fields_are_named_all_at_once() -> None:
    spec = CommandSpec(argv=("x", "{a}", "{b.c}", "{a}"))
    for body in (b"", b"{}", b'{"b": 3}'):
        with pytest.raises(InvalidArguments) as raised:
            spec.check(body)
        assert [error["pointer"] for error in raised.value.errors] == ["/a", "/b/c"]


def test_values_may_look_like_options_behind_two_dashes() -> None:
    assert CommandSpec(argv=("rm", "--", "{file}")).words(b'{"file": "-rf"}') == ["rm", "--", "-rf"]


@pytest.mark.parametrize("body", [b"[1]", b"3", b"no JSON", b"\xff"])
def test_body_that_is_no_object_is_refused_unless_it_is_standard_input(body: bytes) -> None:
    with pytest.raises(InvalidArguments):
        CommandSpec(argv=("x",)).check(body)
    CommandSpec(argv=("x",), stdin=True).check(body)
    with pytest.raises(InvalidArguments):
        CommandSpec(argv=("x", "{a}"), stdin=True).check(body)


def test_arguments_too_large_for_the_environment_are_refused_unless_they_are_standard_input() -> None:
    body = json.dumps({"text": "x" * MAX_WORD_BYTES}).encode()
    with pytest.raises(InvalidArguments, match="--stdin"):
        CommandSpec(argv=("x",)).check(body)
    spec = CommandSpec(argv=("x",), stdin=True)
    spec.check(body)
    assert set(spec.variables(CallRequest(correlation_id="a", body=body), attempt=1)) == {
        "LONGCALL_ID",
        "LONGCALL_ATTEMPT",
    }


def test_variables_are_those_that_a_shell_can_name() -> None:
    body = b'{"date": "today", "n": [1], "with-dash": 1, "PATH": "x", "nul": "\\u0000"}'
    variables = CommandSpec(argv=("x",)).variables(CallRequest(correlation_id="a", body=body), attempt=3)
    assert variables == {
        "LONGCALL_ID": "a",
        "LONGCALL_ATTEMPT": "3",
        "LONGCALL_ARGUMENTS": body.decode(),
        "LONGCALL_ARG_DATE": "today",
        "LONGCALL_ARG_N": "[1]",
        "LONGCALL_ARG_PATH": "x",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"argv": ()},
        {"argv": ("{program}",)},
        {"argv": ("x",), "result": "somewhere"},
        {"argv": ("x",), "grace_s": -1.0},
        {"argv": ("x",), "grace_s": float("nan")},
        {"argv": ("x",), "retry_statuses": frozenset({0})},
    ],
)
def test_command_that_cannot_run_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ServiceConfigError):
        CommandSpec(**options)  # type: ignore[arg-type]


def test_program_is_looked_for() -> None:
    CommandSpec(argv=("sh",)).check_program()
    with pytest.raises(ServiceConfigError, match="not found"):
        CommandSpec(argv=("/nowhere/nightly.sh",)).check_program()
    with pytest.raises(ServiceConfigError, match="chmod"):
        CommandSpec(argv=(__file__,)).check_program()


def test_command_is_registered_as_any_handler() -> None:
    service = Service("x")
    service.handler("/serve", max_running=2)(CommandHandler(CommandSpec(argv=("sh", "-c", "{script}"))))
    spec = service.specs["/serve"]
    assert (spec.isolation, spec.max_running) == ("task", 2)
    with pytest.raises(InvalidArguments, match="/script: missing"):
        spec.arguments.bind(b"", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("::progress 3/10 three done", Progress(done=3, total=10, message="three done")),
        ("::progress 3 / 10", Progress(done=3, total=10)),
        ("::progress::0.5", Progress(done=0.5)),
        ("::progress 30% almost", Progress(done=30, total=100, unit="%", message="almost")),
        ("::error::it burns", LogLine(level="error", message="it burns")),
        ("::debug why", LogLine(level="debug", message="why")),
        ("::progress soon", LogLine(level="info", message="::progress soon")),
        ("::progress -3/10", LogLine(level="info", message="::progress -3/10")),
        (" ::progress 3/10", LogLine(level="info", message=" ::progress 3/10")),
        ("::errors 3", LogLine(level="info", message="::errors 3")),
        ("::progress " + "9" * 1000, LogLine(level="info", message="::progress " + "9" * 1000)),
    ],
)
def test_line_form(line: str, said: Progress | LogLine) -> None:
    assert parse_line(line) == said


@given(st.lists(st.binary(max_size=40)), st.binary())
def test_lines_are_the_same_however_they_arrive(chunks: list[bytes], end: bytes) -> None:
    whole = b"".join(chunks).replace(b"\r", b"") + end.replace(b"\r", b"")
    at_once, piecemeal = LineSplitter(), LineSplitter()
    expected = [*at_once.feed(whole), *at_once.end()]
    assert [line for byte in whole for line in piecemeal.feed(bytes([byte]))] + [*piecemeal.end()] == expected


def test_long_line_is_cut_and_held_no_longer() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        assert list(splitter.feed(b"x" * 100_000)) == []
    assert len(splitter._rest) == MAX_LINE_BYTES
    assert list(splitter.feed(b"\nnext\n")) == [Line("x" * MAX_LINE_BYTES, is_cut=True), Line("next")]


def test_tail_is_short() -> None:
    tail = Tail()
    for number in range(1000):
        tail.add(f"{number} " + "x" * 10_000)
        tail.add(" ")
    assert len(str(tail)) <= 4000


@pytest.mark.parametrize(("status", "retryable"), [(1, False), (75, True), (-9, True), (-40, True)])
def test_exit_status_decides(status: int, retryable: bool) -> None:
    with pytest.raises(CallFailed) as raised:
        check_exit(status, retry_statuses={75}, last_words="")
    assert raised.value.retryable is retryable
    check_exit(0, retry_statuses={75}, last_words="")


def test_start_that_failed_for_want_of_memory_is_retryable() -> None:
    assert not_started("x", 12).retryable
    assert not not_started("x", 2).retryable


def test_last_line_that_was_cut_is_no_result() -> None:
    with pytest.raises(CallFailed, match="LONGCALL_RESULT"):
        result_of_line(Line("x", is_cut=True))
