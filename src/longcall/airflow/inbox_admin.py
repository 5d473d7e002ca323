"""A worker's way to create and delete inboxes: the transport's admin requests, made synchronously."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from longcall.airflow.connections import PubSubAccess

if TYPE_CHECKING:
    from longcall.transport.port import FoundInbox, InboxSpec
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

    def create(self, spec: InboxSpec) -> None:
        """Create an inbox; a repeat changes nothing. Errors as `Transport.create_inbox`."""
        self._runner.run(self._transport.create_inbox(spec))

    def delete(self, name: str) -> None:
        """Delete an inbox; one that is gone is deleted. Errors as `Transport.delete_inbox`."""
        self._runner.run(self._transport.delete_inbox(name))

    def list(self, project: str) -> Sequence[FoundInbox]:
        """Return all subscriptions of a project. Errors as `Transport.list_inboxes`."""
        return self._runner.run(self._transport.list_inboxes(project))


async def _open(access: PubSubAccess) -> PubSubTransport:
    return access.open()
