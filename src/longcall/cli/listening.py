"""Where a service listens: the `--listen` option, and the socket."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from typing import Any, Final

from longcall.cli.loading import ServeError

__all__ = ["add_listen", "address_of", "listen"]

_LOOPBACK: Final = "127.0.0.1"


def add_listen(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Add `--listen`, which sets `host` and `port`; `what` is the first half of its help."""
    parser.add_argument(
        "--listen",
        action=_Listen,
        metavar="[HOST]:PORT",
        help=f"{what} (without HOST: {_LOOPBACK}); 0.0.0.0:PORT is reached from elsewhere",
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ServeError: the address is taken, or none of this machine's.
    """
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
        raise ServeError(
            f"cannot listen on {host}:{port}: {why}; choose another (--host, --port, --listen)"
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL where it listens, without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Listen(argparse.Action):
    """Sets `host` and `port`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Take `:8080`, `8080`, `0.0.0.0:8080` or `[::1]:8080`."""
        host, _, port = str(values).rpartition(":")
        if not port.isdecimal() or not int(port) < 65536 or host.startswith("[") != host.endswith("]"):
            raise argparse.ArgumentError(self, f"{values!r} is not [HOST]:PORT")
        namespace.listen = values
        namespace.host = host.strip("[]") or _LOOPBACK
        namespace.port = int(port)
