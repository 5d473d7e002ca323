"""The port to an engine: it is told of accepted calls, and says who runs one and who has died.

What is true about a call is the store's; an engine forgets nothing that matters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol

from longcall.service.handlers import HandlerSpec
from longcall.service.store import Assignment

__all__ = ["Engine", "Workforce"]


class Workforce(Protocol):
    """What runs calls in this process, as an engine sees it."""

    @property
    def owner(self) -> str:
        """Who this process is, in the store."""
        ...

    @property
    def handlers(self) -> Mapping[str, HandlerSpec]:
        """What it can run, by path."""
        ...

    def with_a_place(self) -> Collection[str]:
        """Return the handlers that may start one more call."""
        ...

    def begin(self, work: Assignment) -> asyncio.Task[bool]:
        """Start a run that was claimed; the task ends with it, and tells whether the call has its outcome."""
        ...

    async def stop_cancelled(self) -> None:
        """Stop the runs whose cancellation was asked for.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        ...

    async def lead(self) -> None:
        """Be the one that publishes completions and forgets old calls. A repeat does nothing."""
        ...

    async def follow(self) -> None:
        """Leave that to another. A repeat does nothing."""
        ...

    def publish_due(self) -> None:
        """Look again for completions to publish, if this process leads."""
        ...


class Engine(Protocol):
    """Hands calls to the workforces of a service."""

    async def start(self, workforce: Workforce | None) -> None:
        """Begin.

        Args:
            workforce: of this process; None: it only answers callers.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        ...

    async def accepted(self, correlation_id: str, *, handler: str) -> None:
        """A call waits in the store. A repeat changes nothing.

        Raises:
            StoreUnavailable: nobody could be told; the same request again tells them.
        """
        ...

    async def changed(self) -> None:
        """Something in the store wants attention: a cancellation, an outcome. Raises nothing."""
        ...

    async def stop(self) -> None:
        """Hand out no more calls. A repeat does nothing."""
        ...

    async def aclose(self) -> None:
        """Let go of everything, once no call runs any more. A repeat does nothing."""
        ...
