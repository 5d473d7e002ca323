"""Exit statuses and error lines of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from longcall import __version__
from longcall._core.errors import LongcallError
from longcall.cli import demo
from longcall.cli.main import main


@pytest.fixture
def demo_does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Put an action in the place of what `longcall demo` does."""

    def install(action: Callable[[], int]) -> None:
        def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
            subparsers.add_parser("demo").set_defaults(run=lambda _args: action())

        monkeypatch.setattr(demo, "add_parser", add_parser)

    return install


def raising(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"longcall {__version__}\n"


def test_a_missing_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["broker", "serve", "worker", "demo", "list", "sweep"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"longcall {command}" in capsys.readouterr().out


def test_the_commands_status_is_the_exit_status(demo_does: Callable[[Callable[[], int]], None]) -> None:
    demo_does(lambda: 7)
    assert main(["demo"]) == 7


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (LongcallError("no topic: make one"), 2, "longcall: no topic: make one\n"),
        (
            ValueError("odd"),
            1,
            "longcall: unexpected ValueError: odd; run `longcall --traceback ...` to see where\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line_and_a_status(
    error: BaseException,
    status: int,
    words: str,
    demo_does: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    demo_does(raising(error))
    assert main(["demo"]) == status
    assert capsys.readouterr().err == words


def test_a_traceback_is_shown_when_asked_for(
    demo_does: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    demo_does(raising(ValueError("odd")))
    assert main(["--traceback", "demo"]) == 1
    assert "Traceback" in capsys.readouterr().err
