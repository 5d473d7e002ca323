"""`longcall serve` and `worker` with `-- COMMAND...`: a command line becomes a service of one handler."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from longcall.service import Service

__all__ = ["EXAMPLE", "add_options", "make_service", "split_command"]

EXAMPLE: Final = """\
a command line is served in the same way; {date} is an argument of the call:

  longcall serve --listen :8080 --topic completions -- ./nightly.sh --date={date}
  curl -X POST 'http://127.0.0.1:8080/serve?correlid=an-id-that-nobody-guesses' \\
       --json '{"date": "2026-01-31"}'

  arguments   {name} and {model.name} in the words after --, never through a shell; {{ and }} are braces;
              $LONGCALL_ARGUMENTS (JSON), $LONGCALL_ARG_NAME, or --stdin
  the call    $LONGCALL_ID, $LONGCALL_ATTEMPT
  progress    a line such as "::progress 3/10 message"; every other line is log
  result      the file $LONGCALL_RESULT, else the last line printed; JSON if it is that, else text
  exit status 0: succeeded; 75: failed, may be tried again; others: failed for good
  cancel      SIGTERM to the process group, SIGKILL after --grace seconds
"""
_SERVING: Final = frozenset({"serve", "worker"})


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return the words of `longcall` itself, and what stands after `--`; None without one.

    Only `serve` and `worker` take a command; the words of other subcommands stay as they are.
    """
    words = list(argv)
    subcommand = next((word for word in words if not word.startswith("-")), None)
    if subcommand not in _SERVING or "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a served command."""
    group = parser.add_argument_group("options of a command after --")
    group.add_argument(
        "--path", default="/serve", help="where calls are posted (default: %(default)s)", dest="command_path"
    )
    group.add_argument(
        "--name", dest="command_name", help="the service's name (default: that of the program)"
    )
    group.add_argument("--stdin", action="store_true", help="the body is the command's standard input")
    group.add_argument(
        "--result",
        default="auto",
        choices=["auto", "file", "last-line", "none"],
        help="where the result is; auto: the file $LONGCALL_RESULT if there is one, else the last line",
    )
    group.add_argument(
        "--result-type", default="", metavar="TYPE", help="media type of the result file, e.g. image/png"
    )
    group.add_argument(
        "--retry-status",
        type=int,
        action="append",
        metavar="N",
        help="an exit status that says that the same call may succeed later; repeatable (default: 75)",
    )
    group.add_argument(
        "--grace",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="between SIGTERM and SIGKILL when a call is cancelled (default: %(default)g)",
    )
    group.add_argument(
        "--max-running",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="commands that run at once, the rest waits (default: the processors, here %(default)s)",
    )
    group.add_argument(
        "--on-interrupt",
        default="rerun",
        choices=["rerun", "fail"],
        help="what becomes of a call whose command died with the service (default: %(default)s)",
    )


def make_service(command: Sequence[str], args: argparse.Namespace) -> Service:
    """Return the service that runs `command`.

    Args:
        command: what stands after `--`.
        args: of a parser with `add_options`.

    Raises:
        ServiceConfigError: there is no such program, or an option is out of range.
    """
    from longcall.service import Service
    from longcall.service.command import EX_TEMPFAIL, CommandHandler, CommandSpec

    spec = CommandSpec(
        argv=tuple(command),
        stdin=args.stdin,
        result=args.result,
        result_type=args.result_type,
        retry_statuses=frozenset(args.retry_status or {EX_TEMPFAIL}),
        grace_s=args.grace,
    )
    spec.check_program()
    service = Service(args.command_name or Path(spec.program).stem)
    register = service.handler(
        args.command_path, on_interrupt=args.on_interrupt, max_running=args.max_running
    )
    register(CommandHandler(spec))
    return service
