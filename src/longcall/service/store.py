"""What is true about each call, behind one interface.

`MemoryCallStore` keeps it as long as the process lives. A durable store takes its
place without a change elsewhere: every change of a call goes through `CallStore`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from longcall._core.clock import Clock, SystemClock
from longcall.contract import (
    CallRequest,
    CallState,
    CallStatus,
    Cancelled,
    Completion,
    Failed,
    Progress,
    Succeeded,
)
from longcall.service.errors import CallConflict

__all__ = ["CallStore", "MemoryCallStore", "StoredCall"]

_FINAL_STATES = {
    Succeeded: CallState.SUCCEEDED,
    Failed: CallState.FAILED,
    Cancelled: CallState.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """One call.

    Attributes:
        digest: what a repeated request must share with the first.
        handler: path of the handler.
        status: what the status resource says.
    """

    digest: str
    handler: str
    status: CallStatus


class CallStore(Protocol):
    """Holds calls. Each method is one atomic change."""

    async def accept(self, request: CallRequest, *, handler: str) -> tuple[StoredCall, bool]:
        """Take a call in, or find it; the flag tells whether it is new.

        Raises:
            CallConflict: the id is known with another body or handler.
        """
        ...

    async def get(self, correlation_id: str) -> StoredCall | None:
        """Return a call; None when it is unknown, or ended long ago."""
        ...

    async def start(self, correlation_id: str, *, now: datetime) -> int:
        """Note that an attempt begins; return its number, from 1."""
        ...

    async def beat(self, correlation_id: str, *, now: datetime, progress: Progress | None) -> None:
        """Note a sign of life, and progress if there is any. An ended call is left as it is."""
        ...

    async def end(self, correlation_id: str, completion: Completion) -> bool:
        """Note how a call ended; False, and no change, if it has ended before."""
        ...


class MemoryCallStore:
    """`CallStore` in this process's memory.

    Of the ended calls it keeps the latest: as many as `max_ended`, for `max_age_s`, with results of
    `max_result_bytes` together. An id that is gone is a new call when it comes again.
    """

    def __init__(
        self,
        *,
        max_ended: int = 10_000,
        max_age_s: float = 7 * 24 * 3600.0,
        max_result_bytes: int = 256_000_000,
        clock: Clock | None = None,
    ) -> None:
        self._calls: dict[str, StoredCall] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()
        """When each ended, the oldest first."""
        self._result_bytes = 0
        self._max_ended = max_ended
        self._max_age_s = max_age_s
        self._max_result_bytes = max_result_bytes
        self._clock = clock or SystemClock()

    async def accept(self, request: CallRequest, *, handler: str) -> tuple[StoredCall, bool]:
        """Take a call in, or find it."""
        known = await self.get(request.correlation_id)
        digest = request.digest()
        if known is not None:
            if (known.digest, known.handler) != (digest, handler):
                raise CallConflict(
                    "this correlation id is known with other arguments: a new call needs a new id"
                )
            return known, False
        status = CallStatus(correlation_id=request.correlation_id, state=CallState.ACCEPTED)
        call = StoredCall(digest=digest, handler=handler, status=status)
        self._calls[request.correlation_id] = call
        return call, True

    async def get(self, correlation_id: str) -> StoredCall | None:
        """Return a call."""
        self._forget_old()
        return self._calls.get(correlation_id)

    async def start(self, correlation_id: str, *, now: datetime) -> int:
        """Note that an attempt begins."""
        status = self._calls[correlation_id].status
        attempt = status.attempt + 1
        self._set(replace(status, state=CallState.RUNNING, attempt=attempt, heartbeat_time=now))
        return attempt

    async def beat(self, correlation_id: str, *, now: datetime, progress: Progress | None) -> None:
        """Note a sign of life."""
        status = self._calls[correlation_id].status
        if not status.state.is_final:
            self._set(replace(status, heartbeat_time=now, progress=progress or status.progress))

    async def end(self, correlation_id: str, completion: Completion) -> bool:
        """Note how a call ended."""
        status = self._calls[correlation_id].status
        if status.state.is_final:
            return False
        self._set(replace(status, state=_FINAL_STATES[type(completion)], completion=completion))
        self._ended[correlation_id] = self._clock.monotonic_s()
        self._result_bytes += _result_bytes(completion)
        self._forget_old()
        return True

    def _set(self, status: CallStatus) -> None:
        known = self._calls[status.correlation_id]
        self._calls[status.correlation_id] = replace(known, status=status)

    def _forget_old(self) -> None:
        """Drop ended calls, the oldest first, until all three limits are met."""
        too_old_s = self._clock.monotonic_s() - self._max_age_s
        while self._ended and (
            len(self._ended) > self._max_ended
            or self._result_bytes > self._max_result_bytes
            or next(iter(self._ended.values())) < too_old_s
        ):
            oldest, _ = self._ended.popitem(last=False)
            self._result_bytes -= _result_bytes(self._calls.pop(oldest).status.completion)


def _result_bytes(completion: Completion | None) -> int:
    return len(completion.data) if isinstance(completion, Succeeded) else 0
