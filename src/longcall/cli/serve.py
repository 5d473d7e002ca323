"""`longcall serve MODULE:SERVICE`: serve a `longcall.service.Service` over HTTP."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from longcall._core.errors import LongcallError

if TYPE_CHECKING:
    from longcall.service import Service

__all__ = ["ServeError", "add_parser", "run"]

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


class ServeError(LongcallError):
    """The service cannot be served as asked."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="serve functions as long-running calls",
        description="Serve a Service over HTTP: 202 at once, work in the background, completion on Pub/Sub.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "service", metavar="MODULE:SERVICE", help="where the Service is, e.g. my_module:service"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or "8000",
        help="default: $PORT, then 8000; 0: any",
    )
    parser.add_argument(
        "--topic", help="where to publish: id or path (default: $LONGCALL_TOPIC, then $GCP_TOPIC)"
    )
    parser.add_argument("--project", help="project of the topic (default: $GOOGLE_CLOUD_PROJECT)")
    parser.add_argument(
        "--store",
        metavar="WHERE",
        help="where calls are kept, so that a restart goes on with them: a folder; postgresql://…, which "
        "replicas share (better in $LONGCALL_STORE, for its password); 'memory': nowhere "
        "(default: $LONGCALL_STORE, then ~/.local/state/longcall/services/NAME)",
    )
    parser.add_argument(
        "--no-work", action="store_true", help="answer callers only; replicas that work run the calls"
    )
    parser.add_argument(
        "--takeover",
        type=float,
        metavar="SECONDS",
        help="how long a replica must have been silent to count as dead (default: 30)",
    )
    parser.add_argument(
        "--drain",
        type=float,
        metavar="SECONDS",
        help="how long running work may go on after SIGTERM (default: 10)",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--log-format",
        default=os.environ.get("LONGCALL_LOG_FORMAT") or "text",
        choices=["text", "json"],
        help="json: one object a line, as Google Cloud Logging reads them (default: $LONGCALL_LOG_FORMAT, "
        "then text)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        LongcallError: the service, the topic or the address cannot be used.
    """
    # Children are started by exec, which gRPC need not prepare for, nor say so at each.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    try:
        from longcall.service.server import serve
    except ImportError as error:
        raise ServeError(f"{error}: pip install 'longcall[service]'") from error
    from longcall.service import ServiceConfig
    from longcall.service.logs import LogSettings

    LogSettings(
        format=args.log_format,
        level=logging.getLevelNamesMapping()[args.log_level.upper()],
        project=args.project or os.environ.get("GOOGLE_CLOUD_PROJECT", ""),
    ).apply()
    service = _load(args.service)
    config = ServiceConfig.from_env(os.environ, topic=args.topic, project=args.project)
    if args.drain is not None:
        config = replace(config, drain_s=args.drain)
    if args.store is not None:
        config = replace(config, store=args.store)
    if args.takeover is not None:
        config = replace(config, takeover_s=args.takeover)
    config = replace(config, works=not args.no_work)
    app = service.asgi(config)
    listener = _listen(args.host, args.port)

    def announce() -> None:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(f"Listening on {address}, publishing to {config.topic}")
        for path in service.handlers:
            print(f"  POST {address}{path}?correlid=ID", flush=True)

    return serve(app, listener, log_level=args.log_level, on_started=announce)


def _load(target: str) -> Service:
    from longcall.service import Service

    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ServeError(f"{target!r} is not of the form MODULE:SERVICE, e.g. my_module:service")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        raise ServeError(
            f"no module {module_name!r} here or on PYTHONPATH: run this in the folder that holds it"
        ) from error
    service = getattr(module, attribute, None)
    if not isinstance(service, Service):
        found = "nothing" if service is None else type(service).__name__
        raise ServeError(f"{target}: expected a longcall.service.Service, found {found}")
    return service


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or error
        raise ServeError(f"cannot listen on {host}:{port}: {why}; choose another --host or --port") from error
    return listener
