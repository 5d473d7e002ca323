"""`longcall broker`: the embedded Pub/Sub as a process."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from longcall._core.errors import LongcallError

if TYPE_CHECKING:
    from longcall.broker import Broker

__all__ = ["BrokerCommandError", "add_parser", "run"]

_EPILOG = """\
Point Google's clients at it, in any language:

  export PUBSUB_EMULATOR_HOST=127.0.0.1:8085

It speaks Google's gRPC API: topics and subscriptions, filters, pull and streaming
pull, push to HTTP endpoints, ordering keys, exactly-once delivery, retry policies and
dead letters, snapshots and seek, retention, expiration, schemas, IAM policies, health,
server reflection. With --http-port the same as HTTP/JSON, for gcloud, Terraform and
curl.

What survives the broker:
  in memory (default)   nothing
  --data-dir            kill -9: all that it has acknowledged; a power cut may take the
                        last moments
  ... and --power-safe  a power cut, too; each publish then waits for the disk

There is no authentication: keep it on loopback. SIGTERM and SIGINT end it cleanly.

Examples:
  longcall broker --project my-project --topic orders --topic invoices
  longcall broker --port 0 --data-dir ./pubsub      # any free port; it is printed
"""


class BrokerCommandError(LongcallError):
    """The broker cannot be run as asked."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "broker",
        help="run a Pub/Sub broker on this machine",
        description="Serve the Google Pub/Sub API on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8085, help="default: %(default)s; 0: any that is free")
    parser.add_argument(
        "--http-port", type=int, metavar="PORT", help="serve the HTTP/JSON API, too; 0: any (default: do not)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keep everything here (default: in memory, gone at the end)",
    )
    parser.add_argument(
        "--power-safe",
        action="store_true",
        help="with --data-dir: survive a power cut too, for slower publishing",
    )
    parser.add_argument(
        "--project",
        default=os.environ.get("GOOGLE_CLOUD_PROJECT") or "local",
        help="project of --topic (default: $GOOGLE_CLOUD_PROJECT, then local)",
    )
    parser.add_argument(
        "--topic", action="append", default=[], metavar="NAME", help="make this topic; repeatable"
    )
    parser.add_argument(
        "--testing",
        action="store_true",
        help="let tests look inside and disturb it: see longcall.testing",
    )
    parser.add_argument(
        "--until-stdin-ends",
        action="store_true",
        help="end when standard input does: with whoever has started it, however that one ends",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        LongcallError: address, data directory or a topic's name cannot be used.
    """
    try:
        import grpc_health  # noqa: F401 # asked for here, for one clear error
        import grpc_reflection  # noqa: F401
    except ImportError as error:
        raise BrokerCommandError(f"{error}: pip install 'longcall[broker]'") from error
    _leave_out_googles_clients()
    from longcall.broker import Broker, BrokerConfig

    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
    config = BrokerConfig(
        host=args.host,
        port=args.port,
        http_port=args.http_port,
        data_dir=args.data_dir,
        power_safe=args.power_safe,
        testing=args.testing,
    )
    topics = [name if "/" in name else f"projects/{args.project}/topics/{name}" for name in args.topic]
    asyncio.run(_serve(lambda: Broker(config), topics, until_stdin_ends=args.until_stdin_ends))
    return 0


def _leave_out_googles_clients() -> None:
    """Let `google.pubsub_v1` be its types only, unless it is loaded.

    The package loads its clients when it is imported. A broker has no use for them, and they are half of the
    time that it takes to start, and a third of its memory.
    """
    name = "google.pubsub_v1"
    found = importlib.util.find_spec(name)
    if name not in sys.modules and found is not None:
        sys.modules[name] = importlib.util.module_from_spec(found)  # and not executed


async def _serve(make: Callable[[], Broker], topics: list[str], *, until_stdin_ends: bool) -> None:
    ended = asyncio.Event()
    if until_stdin_ends:
        _when_stdin_ends(ended.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with make() as broker:
        for name in topics:
            await broker.ensure_topic(name)
        print(f"Server started, listening on {broker.port}")
        print(f"  export PUBSUB_EMULATOR_HOST={broker.address}", flush=True)
        if broker.http_address is not None:
            print(f"  HTTP/JSON: http://{broker.http_address}/v1/projects/PROJECT/topics", flush=True)
        await ended.wait()
        print("Stopping", flush=True)


def _when_stdin_ends(action: Callable[[], None]) -> None:
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            action()

    try:
        loop.add_reader(descriptor, read)
    except PermissionError:  # a file, or /dev/null: nobody holds the other end
        action()
