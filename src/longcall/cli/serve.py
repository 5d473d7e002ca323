"""`longcall serve MODULE:SERVICE`: serve a `longcall.service.Service` over HTTP."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from longcall.cli import serve_command
from longcall.cli.listening import add_listen, address_of, listen
from longcall.cli.loading import ServeError, add_arguments, config_of, prepare, service_of

__all__ = ["add_parser", "run"]

_EXAMPLE = """\
example, in my_module.py:

  from longcall.service import Call, Service

  service = Service("digits")

  @service.handler("/train")
  def train(call: Call) -> dict[str, float]:
      call.progress(1, 1, unit="steps")
      return {"accuracy": 0.97}

then: longcall serve my_module:service --topic completions --project my-project
and:  curl -X POST 'http://127.0.0.1:8000/train?correlid=an-id-that-nobody-guesses' --json '{}'

With PUBSUB_EMULATOR_HOST set, completions go to that emulator and no credentials are asked for.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "serve",
        usage="%(prog)s [options] MODULE:SERVICE\n       %(prog)s [options] -- COMMAND ...",
        help="serve functions as long-running calls",
        description="Serve a Service over HTTP: 202 at once, work in the background, completion on Pub/Sub.",
        epilog=f"{_EXAMPLE}\n{serve_command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or "8000",
        help="default: $PORT, then 8000; 0: any",
    )
    parser.add_argument(
        "--no-work", action="store_true", help="answer callers only; replicas that work run the calls"
    )
    parser.add_argument("--no-page", action="store_true", help="no page for people at /calls/")
    add_listen(parser, what="--host and --port in one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        LongcallError: the service, the topic or the address cannot be used.
    """
    prepare(args)
    try:
        from longcall.service.server import serve
    except ImportError as error:
        raise ServeError(f"{error}: pip install 'longcall[service]'") from error
    service = service_of(args)
    config = replace(config_of(args), works=not args.no_work, page=not args.no_page)
    app = service.asgi(config)
    listener = listen(args.host, args.port)

    def announce() -> None:
        address = address_of(listener)
        print(f"Listening on {address}, publishing to {config.topic}")
        for path in service.handlers:
            print(f"  POST {address}{path}?correlid=ID", flush=True)

    return serve(app, listener, log_level=args.log_level, on_started=announce)
