"""`longcall list` and `longcall sweep`: the inboxes of calls, and an end to those that were left behind.

An inbox is left behind when its caller is killed and nobody takes its place. What its labels say, and what
the service says of the call, is all that is known of it; in Airflow, `LongCallSweepOperator` knows more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from longcall._core.errors import LongcallError
from longcall.client import delete_address, find_inboxes
from longcall.client.labels import SOURCE_LABELS, created_time
from longcall.client.owner import CallOwner
from longcall.contract import CallStatus, ContractError, resource_id, resource_path

if TYPE_CHECKING:
    from longcall.cli.asking import ServiceAsked
    from longcall.transport import FoundInbox, Transport

__all__ = ["add_parser"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NOT_ALL_DONE: Final = 1
_EXAMPLE: Final = """\
examples:

  longcall sweep --project my-project                                  # what would go, and why
  longcall sweep --project my-project --older-than 7d --delete
  longcall sweep --service https://trainer/train --cancel --delete     # its calls are cancelled, too
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An inbox of one call.

    Attributes:
        name: full path.
        topic: full path.
        own_topic: the same if it is the inbox's alone, and goes with it; or empty.
        age: None: its labels do not say; it is not swept.
        owner: the Airflow task that waits, if one does.
        status: what the service says; None: nobody was asked, or it does not know.
    """

    name: str
    topic: str
    own_topic: str
    age: timedelta | None
    owner: CallOwner | None
    status: CallStatus | None = None

    @property
    def correlid(self) -> str:
        """The call."""
        return resource_id(self.name)

    def line(self, verdict: str = "") -> str:
        """Return what a person sees of it."""
        age = "age unknown" if self.age is None else f"{_short(self.age)} old"
        state = f"{self.status.state}" if self.status is not None else ""
        parts = (self.correlid, age, resource_id(self.topic), str(self.owner or ""), state, verdict)
        return "  ".join(part for part in parts if part)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both subcommands to the command line."""
    listing = subparsers.add_parser(
        "list", help="the inboxes of calls", description="List the inboxes of calls, oldest first."
    )
    _add_arguments(listing, older_than="0s")
    listing.set_defaults(run=_list)
    sweeping = subparsers.add_parser(
        "sweep",
        help="end what was left behind",
        description="Delete the inboxes of calls whose callers are gone. Changes nothing without --delete.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(sweeping, older_than="24h")
    sweeping.add_argument(
        "--cancel", action="store_true", help="with --service: cancel calls that still work"
    )
    sweeping.add_argument("--delete", action="store_true", help="do it, and not only say what would be done")
    sweeping.set_defaults(run=_sweep)


def _add_arguments(parser: argparse.ArgumentParser, *, older_than: str) -> None:
    parser.add_argument("--project", default=None, help="of the inboxes (default: $GOOGLE_CLOUD_PROJECT)")
    parser.add_argument("--topic", default=None, help="only inboxes of this topic, by id or path")
    parser.add_argument(
        "--older-than",
        type=_duration,
        default=_duration(older_than),
        metavar="AGE",
        help=f"only inboxes of this age: 90s, 30m, 24h, 7d (default: {older_than})",
    )
    parser.add_argument(
        "--service",
        default=None,
        metavar="URL",
        help="where the calls were started: is asked about them",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME: VALUE",
        help="for the service, such as a login; may be repeated",
    )


def _list(args: argparse.Namespace) -> int:
    return asyncio.run(_list_all(args))


async def _list_all(args: argparse.Namespace) -> int:
    async with _opened(args) as (transport, service):
        found = await _find(args, transport, service)
    for inbox in found:
        print(inbox.line())
    print(f"{len(found)} inboxes")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    if args.cancel and not args.service:
        raise ContractError("--cancel", "needs --service, where the calls were started")
    return asyncio.run(_sweep_all(args))


async def _sweep_all(args: argparse.Namespace) -> int:
    gone, kept, failed = 0, 0, 0
    async with _opened(args) as (transport, service):
        for inbox in await _find(args, transport, service):
            works = inbox.status is not None and not inbox.status.state.is_final
            if inbox.age is None or (works and not args.cancel):
                kept += 1
                print(inbox.line("-> kept: " + ("it still works" if works else "its age is unknown")))
                continue
            if not args.delete:
                print(inbox.line("-> would be " + ("cancelled and deleted" if works else "deleted")))
                gone += 1
                continue
            try:
                if works and service is not None:
                    await service.cancel(inbox.correlid)
                await delete_address(transport, inbox=inbox.name, topic=inbox.own_topic)
            except LongcallError as error:
                failed += 1
                print(inbox.line(f"-> left: {error}"))
            else:
                gone += 1
                print(inbox.line("-> " + ("cancelled and deleted" if works else "deleted")))
    would = "" if args.delete else " would be (say --delete)"
    print(f"{gone} inboxes{would} deleted, {kept} kept, {failed} left")
    return _NOT_ALL_DONE if failed else 0


@asynccontextmanager
async def _opened(args: argparse.Namespace) -> AsyncIterator[tuple[Transport, ServiceAsked | None]]:
    from longcall.cli.asking import ServiceAsked
    from longcall.transport.pubsub import PubSubTransport

    transport = PubSubTransport.from_env(os.environ)
    service = ServiceAsked(args.service, headers=_headers(args.header)) if args.service else None
    try:
        yield transport, service
    finally:
        if service is not None:
            await service.aclose()
        await transport.aclose()


async def _find(
    args: argparse.Namespace, transport: Transport, service: ServiceAsked | None
) -> Sequence[Found]:
    """Return the inboxes of single calls that are old enough, the oldest first."""
    project = args.project or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        raise ContractError("--project", "missing: give it, or set GOOGLE_CLOUD_PROJECT")
    topic = (
        resource_path(args.topic, project=project, collection="topics", field="--topic")
        if args.topic
        else None
    )
    now = datetime.now(UTC)
    found = []
    for inbox in await find_inboxes(transport, project):
        seen = _seen(inbox, now)
        if seen is None or (topic is not None and inbox.topic != topic):
            continue
        if seen.age is not None and seen.age < args.older_than:
            continue
        status = await service.status(seen.correlid) if service is not None else None
        found.append(replace(seen, status=status))
    return sorted(found, key=lambda inbox: inbox.age or timedelta.max, reverse=True)


def _seen(inbox: FoundInbox, now: datetime) -> Found | None:
    """Return an inbox of ours; None: it is another's, or a lasting one."""
    if not SOURCE_LABELS.items() <= inbox.labels.items() or not resource_id(inbox.name).startswith("lc-"):
        return None
    created = created_time(inbox.labels)
    age = None if created is None else max(now - created, timedelta(0))  # another's clock may be ahead
    return Found(
        name=inbox.name,
        topic=inbox.topic,
        own_topic=inbox.own_topic,
        age=age,
        owner=CallOwner.from_labels(inbox.labels),
    )


def _headers(given: Sequence[str]) -> Mapping[str, str]:
    pairs = [header.partition(":") for header in given]
    if not all(colon for _, colon, _ in pairs):
        raise ContractError("--header", "of the form NAME: VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 90s, 30m, 24h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _short(age: timedelta) -> str:
    seconds = max(0, round(age.total_seconds()))
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _UNITS[unit]:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"
