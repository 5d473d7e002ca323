"""The two halves of a running service: what answers its callers, and what runs their calls."""

from __future__ import annotations

from dataclasses import dataclass

from longcall.service.calls import Calls
from longcall.service.supervisor import Supervisor

__all__ = ["Running"]


@dataclass(frozen=True, slots=True)
class Running:
    """A service at work.

    Attributes:
        calls: answers callers.
        supervisor: runs their calls.
    """

    calls: Calls
    supervisor: Supervisor

    async def stop(self) -> None:
        """Take no more calls, and end the work; a repeat does nothing."""
        self.calls.stop_accepting()
        await self.supervisor.stop()
