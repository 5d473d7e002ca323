"""A worker's way to create and delete inboxes: the transport's admin requests, made synchronously."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from longcall.airflow.connections import PubSubAccess
from longcall.client import CallAddress, delete_address, find_inboxes

if TYPE_CHECKING:
    from longcall.transport.port import FoundInbox
    from longcall.transport.pubsub import PubSubTransport

__all__ = ["InboxAdmin"]


class InboxAdmin:
    """Creates and deletes inboxes over one connection, from synchronous code.

    A context manager: it owns an event loop and a connection between enter and exit.
    """

    def __init__(self, access: PubSubAccess) -> None:
        self._access = access
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Connect."""
        self._transport = self._runner.run(_open(self._access))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        try:
            self._runner.run(self._transport.aclose())
        finally:
            self._runner.close()

    def create(self, address: CallAddress) -> None:
        """Create a call's inbox, and its topic if that is its own; see `CallAddress.create`."""
        self._runner.run(address.create(self._transport))

    def delete(self, name: str, *, own_topic: str) -> None:
        """Delete a call's inbox, and its topic if that is its own; see `delete_address`."""
        self._runner.run(delete_address(self._transport, inbox=name, topic=own_topic))

    def list(self, project: str) -> Sequence[FoundInbox]:
        """Return all subscriptions of a project, and what calls' own topics have lost; see `find_inboxes`."""
        return self._runner.run(find_inboxes(self._transport, project))


async def _open(access: PubSubAccess) -> PubSubTransport:
    return access.open()
