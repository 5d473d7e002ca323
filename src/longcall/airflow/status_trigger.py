"""The trigger of the sensor: asks for a call's status until it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from longcall._core.errors import LongcallError
from longcall.airflow.in_thread import in_any_thread
from longcall.airflow.service_hook import ServiceHook
from longcall.airflow.trigger import EventStatus
from longcall.airflow.version_compat import AirflowException, BaseTrigger, TriggerEvent
from longcall.contract import CallStatus, ContractError, JsonValue

__all__ = ["StatusTrigger", "ended_status"]

log = logging.getLogger(__name__)


def ended_status(http_conn_id: str, location: str) -> CallStatus | None:
    """Ask how a call stands; None: it goes on, or its service does not answer for now.

    Args:
        http_conn_id: the HTTP connection to the service.
        location: URL of the status resource, or its path below the connection's URL.

    Raises:
        CallRefused: the service does not know the call, or does not tell.
        ContractError: the status resource is not the service's, or what it answers is no status.
    """
    hook = ServiceHook(http_conn_id)
    try:
        status = hook.status(hook.absolute(location))
    except LongcallError as error:
        if not error.retryable:
            raise
        log.info("The status of the call is not known: %s", error)
        return None
    if status is None:
        raise ContractError("location", f"{location!r:.200} is not below the URL of {http_conn_id!r}")
    return status if status.completion is not None else None


class StatusTrigger(BaseTrigger):
    """Fires once, when the call has ended. Its event holds no result, but `error` if the service refuses."""

    def __init__(
        self, *, http_conn_id: str, location: str, poke_interval_s: float, not_before_s: float = 0.0
    ) -> None:
        """Keep what to ask.

        Args:
            http_conn_id: the HTTP connection to the service.
            location: URL of the status resource, or its path below the connection's URL.
            poke_interval_s: seconds from one look to the next.
            not_before_s: fire at this instant at the earliest, in seconds since the epoch: see ADR 3.
        """
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's has no hints
        self.http_conn_id = http_conn_id
        self.location = location
        self.poke_interval_s = poke_interval_s
        self.not_before_s = not_before_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "http_conn_id": self.http_conn_id,
                "location": self.location,
                "poke_interval_s": self.poke_interval_s,
                "not_before_s": self.not_before_s,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event."""
        event = await self._wait()
        if self.task_instance is not None:
            await asyncio.sleep(max(0.0, self.not_before_s - time.time()))
        yield TriggerEvent(event)

    async def _wait(self) -> dict[str, JsonValue]:
        try:
            while True:
                if await in_any_thread(ended_status, self.http_conn_id, self.location) is not None:
                    return {"status": EventStatus.COMPLETED}
                await asyncio.sleep(self.poke_interval_s)
        except (LongcallError, AirflowException) as error:
            return {"status": EventStatus.FAILED, "error": str(error)}
