"""`longcall worker MODULE:SERVICE`: run the calls of a service whose web processes are elsewhere."""

from __future__ import annotations

import argparse
from dataclasses import replace

from longcall.cli.listening import add_listen, address_of, listen
from longcall.cli.loading import ServeError, add_arguments, config_of, prepare, service_of

__all__ = ["add_parser", "run"]

_EXAMPLE = """\
example, with $LONGCALL_STORE=postgresql://user:password@host/calls on every machine:

  longcall serve my_module:service --no-work --port 8080     # as many as the load balancer needs
  longcall worker my_module:service                          # as many as the work needs
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "worker",
        usage="%(prog)s [options] MODULE:SERVICE\n       %(prog)s [options] -- COMMAND ...",
        help="run the calls that others accept",
        description="Run the calls of a service, and answer nobody. The store must be PostgreSQL.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    add_listen(parser, what="answer /health, /ready and /metrics there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT.

    Raises:
        LongcallError: the service, its store or its topic cannot be used.
    """
    prepare(args)
    try:
        from longcall.service.server import serve, work
        from longcall.service.store import is_shared
    except ImportError as error:
        raise ServeError(f"{error}: pip install 'longcall[service]'") from error
    service = service_of(args)
    config = config_of(args)
    if not is_shared(config.store):
        raise ServeError("--store: a worker alone needs postgresql://…, for a folder belongs to one process")
    app = service.asgi(replace(config, answers=False))
    paths = ", ".join(service.handlers)

    def announce(where: str = "") -> None:
        print(f"Working on {paths}, publishing to {config.topic}{where}", flush=True)

    if args.listen is None:
        work(app, on_started=announce)
        return 0
    listener = listen(args.host, args.port)
    where = f", watched at {address_of(listener)}"
    return serve(app, listener, log_level=args.log_level, on_started=lambda: announce(where))
