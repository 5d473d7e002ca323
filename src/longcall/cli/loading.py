"""What `longcall serve` and `longcall worker` share: which service, and where its calls and reports go."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from longcall._core.errors import LongcallError
from longcall.cli import serve_command

if TYPE_CHECKING:
    from longcall.service import Service, ServiceConfig

__all__ = ["ServeError", "add_arguments", "config_of", "prepare", "service_of"]

_DAY_S: Final = 24 * 3600.0


class ServeError(LongcallError):
    """The service cannot be served as asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every process of a service has to be told."""
    parser.add_argument(
        "service",
        nargs="?",
        metavar="MODULE:SERVICE",
        help="where the Service is, e.g. my_module:service; not with a command",
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
        "--reply-topic",
        action="append",
        metavar="PATH",
        help="a topic where requests may have reports published, or a beginning of some, with a * "
        "(default: $LONGCALL_REPLY_TOPICS, with commas between); repeatable",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--log-format",
        default=os.environ.get("LONGCALL_LOG_FORMAT") or "text",
        choices=["text", "json"],
        help="json: one object a line, as Google Cloud Logging reads them (default: $LONGCALL_LOG_FORMAT, "
        "then text)",
    )
    _add_results(parser)
    _add_limits(parser)
    serve_command.add_options(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("large results")
    group.add_argument(
        "--results-url",
        metavar="URL",
        help="put results that are too large for a message below this URL (gs://bucket/folder, any that "
        "fsspec knows), and publish where they lie (default: $LONGCALL_RESULTS_URL, then nowhere: such a "
        "call fails)",
    )
    group.add_argument(
        "--result-limit",
        type=int,
        metavar="BYTES",
        help="put results there that are larger than this (default: what a message takes, 9990000)",
    )
    group.add_argument(
        "--result-lifetime",
        type=float,
        metavar="SECONDS",
        help="for how long results lie there (default: 604800, a week)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--takeover",
        type=float,
        metavar="SECONDS",
        help="how long a replica must have been silent to count as dead (default: 30)",
    )
    group.add_argument(
        "--drain",
        type=float,
        metavar="SECONDS",
        help="how long running work may go on after SIGTERM (default: 5)",
    )
    group.add_argument(
        "--max-processes",
        type=int,
        metavar="N",
        help="functions that run at once in processes of their own (default: the processors)",
    )
    group.add_argument(
        "--max-waiting", type=int, metavar="N", help="calls that wait at most (default: 10000)"
    )
    group.add_argument(
        "--keep-calls", type=int, metavar="N", help="ended calls that are remembered at most (default: 10000)"
    )
    group.add_argument(
        "--keep-days", type=float, metavar="DAYS", help="for how long they are remembered (default: 7)"
    )


def prepare(args: argparse.Namespace) -> None:
    """Set this process up to log, and to start children.

    Raises:
        ServiceConfigError: it cannot log so.
    """
    from longcall.service.logs import LogSettings

    # Children are started by exec, which gRPC need not prepare for, nor say so at each.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    LogSettings(
        format=args.log_format,
        level=logging.getLevelNamesMapping()[args.log_level.upper()],
        project=args.project or os.environ.get("GOOGLE_CLOUD_PROJECT", ""),
    ).apply()


def config_of(args: argparse.Namespace) -> ServiceConfig:
    """Return the configuration that the command line and the environment make.

    Raises:
        ServiceConfigError: a setting cannot be used.
    """
    from longcall.service import ServiceConfig

    config = ServiceConfig.from_env(os.environ, topic=args.topic, project=args.project)
    given = {
        "drain_s": args.drain,
        "store": args.store,
        "takeover_s": args.takeover,
        "max_processes": args.max_processes,
        "max_waiting": args.max_waiting,
        "max_ended": args.keep_calls,
        "max_ended_age_s": None if args.keep_days is None else args.keep_days * _DAY_S,
        "results_url": args.results_url,
        "result_limit_bytes": args.result_limit,
        "result_lifetime_s": args.result_lifetime,
    }
    if args.reply_topic:
        given["reply_topics"] = tuple(args.reply_topic)
    return replace(config, **{name: value for name, value in given.items() if value is not None})


def service_of(args: argparse.Namespace) -> Service:
    """Return the service that the command line names: one in a module, or a command after `--`.

    Raises:
        LongcallError: there is none, or not one.
    """
    if (args.service is None) == (args.command_line is None):
        raise ServeError("give either MODULE:SERVICE, or a command after --")
    if args.command_line is None:
        return _load(args.service)
    return serve_command.make_service(args.command_line, args)


def _load(target: str) -> Service:
    """Import the service that `MODULE:SERVICE` names, from the current folder or the path.

    Raises:
        ServeError: there is none.
    """
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
