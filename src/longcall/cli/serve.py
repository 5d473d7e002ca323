"""`longcall serve MODULE:SERVICE`: serve a `longcall.service.Service` over HTTP."""

from __future__ import annotations

import argparse
import os
import socket
from dataclasses import replace

from longcall.cli import serve_command
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
    serve_command.add_listen(parser)
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
    listener = _listen(args.host, args.port)

    def announce() -> None:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(f"Listening on {address}, publishing to {config.topic}")
        for path in service.handlers:
            print(f"  POST {address}{path}?correlid=ID", flush=True)

    return serve(app, listener, log_level=args.log_level, on_started=announce)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: asyncio turns Nagle's delay off for sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or error
        raise ServeError(f"cannot listen on {host}:{port}: {why}; choose another --host or --port") from error
    return listener
