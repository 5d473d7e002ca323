"""The command line: parse, run a subcommand, turn errors into one line and an exit status."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from longcall import __version__
from longcall._core.errors import LongcallError
from longcall.cli import broker, demo, inboxes, serve, serve_command, worker

__all__ = ["main"]

_FAILED = 1
_REFUSED = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `longcall` with `argv`, by default the process's own, and return the exit status.

    0: done. 1: it ran and failed. 2: it could not run as asked. 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="longcall", description="Call services that work for minutes to days, holding no worker."
    )
    parser.add_argument("--version", action="version", version=f"longcall {__version__}")
    parser.add_argument("--traceback", action="store_true", help="on an error, show where it comes from")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (demo, serve, worker, broker, inboxes):
        command.add_parser(subparsers)
    words, command_line = serve_command.split_command(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words, argparse.Namespace(command_line=command_line))
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except LongcallError as error:
        return _fail(str(error), status=_REFUSED, error=error if args.traceback else None)
    except Exception as error:
        # The last border: a person at a prompt is told in a line what a bug report needs in full.
        hint = "" if args.traceback else "; run `longcall --traceback ...` to see where"
        message = f"unexpected {type(error).__name__}: {error}{hint}"
        return _fail(message, status=_FAILED, error=error if args.traceback else None)
    return status


def _fail(message: str, *, status: int, error: Exception | None) -> int:
    if error is not None:
        traceback.print_exception(error)
    print(f"longcall: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
