"""News of one call: reports as they arrive, and what the service says when they stay away.

Push for speed, pull for certainty. A completion that got lost on its way is found by asking the status
resource: soon after a wait begins, for it may go on where another was broken off; when there was no news
for a while; and when the inbox is gone.

Anybody who may publish on the topic can put something into an inbox. What is not the service's, or comes
from an attempt that another has superseded, is left out: it is logged, counted, and resumes nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from longcall._core.errors import LongcallError
from longcall.client.errors import CallSilent, CallTimeout
from longcall.client.router import Arrival, Arrivals
from longcall.contract import (
    BadSignature,
    CallStatus,
    Completion,
    Progress,
    Report,
    SigningKey,
    is_completion,
    verify,
)
from longcall.transport import InboxNotFound
from longcall.transport.errors import TransportError

__all__ = ["AskStatus", "CallWatch", "Patience"]

log = logging.getLogger(__name__)

_REPORT_IS_DUE_S: Final = 2.0
"""What the report of a call that has ended gets to arrive, before the service's own word is taken for it."""
_FIRST_ASK_S: Final = (2.0, 10.0)
"""When the service is asked first: spread, for a triggerer that starts takes up all its waits at once."""
_UNANSWERED_MAX: Final = 20
"""Enough doublings for any pause."""

AskStatus: TypeAlias = Callable[[], Awaitable[CallStatus | None]]
"""Asks the service how a call stands; None: it cannot be asked. Raises a LongcallError: it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go without news of a call.

    Attributes:
        ask_after_s: before the service is asked; a quarter more or less, lest many ask at once. It is
            asked sooner once at the beginning, and after it did not answer.
        silence_s: before the call is given up, when the service knows of no sign of life either; None: never.
        timeout_s: how long to wait at all, from now; None: as long as it takes.
    """

    ask_after_s: float
    silence_s: float | None = None
    timeout_s: float | None = None


class CallWatch:
    """The reports of one call, one after the other.

    Attributes:
        left_out: how many reports were left out, by reason: `unsigned`, `superseded`, `outdated`.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        *,
        correlation_id: str,
        ask: AskStatus,
        patience: Patience,
        signing_keys: Sequence[SigningKey] = (),
    ) -> None:
        """Begin to wait.

        Args:
            arrivals: what the router has for the call.
            correlation_id: the call.
            ask: asks the service.
            patience: how long to go without news.
            signing_keys: take no report that none of them has signed; none: take any.
        """
        self.left_out: Counter[str] = Counter()
        self._signing_keys = signing_keys
        self._attempt = 0
        self._progress = (0, 0)
        self._arrivals = arrivals
        self._correlation_id = correlation_id
        self._ask = ask
        self._patience = patience
        self._life: object = None
        now_s = _now_s()
        self._alive_s = now_s
        self._deadline_s = None if patience.timeout_s is None else now_s + patience.timeout_s
        self._unanswered = 0
        self._ask_s = now_s + min(_soon_s(), self._pause_s())

    async def next(self) -> Arrival | Completion:
        """Wait for the next report, or for the service's own word that the call has ended.

        Raises:
            CallTimeout: time is up. The call goes on.
            CallSilent: there is no sign of life any more. The call may go on.
            InboxNotFound: the inbox is gone, and the service does not say that the call has ended.
            TransportError: reports cannot be received.
        """
        while True:
            try:
                async with asyncio.timeout_at(_earliest(self._ask_s, self._deadline_s)):
                    arrival = await self._genuine()
            except TimeoutError:
                ended = await self._find_out()
                if ended is not None:
                    return await self._report_or(ended)
            except InboxNotFound:
                ended = await self._status()
                if ended is None:
                    raise
                return self._lost(ended)
            else:
                self._note_life()
                return arrival

    async def _genuine(self) -> Arrival:
        """Wait for the next report that counts; leave out what does not."""
        while True:
            arrival = await anext(self._arrivals)
            if self._is_signed(arrival) and self._is_current(arrival.report):
                return arrival
            await self._drop(arrival)

    def _is_signed(self, arrival: Arrival) -> bool:
        if not self._signing_keys:
            return True
        try:
            verify(arrival.message, self._signing_keys)
        except BadSignature as error:
            self.left_out["unsigned"] += 1
            log.warning(
                "Call %s: a report that its service did not sign is left out: %s", self._correlation_id, error
            )
            return False
        return True

    def _is_current(self, report: Report) -> bool:
        """Tell whether no later attempt is known than the report's, and no later progress than its own."""
        attempt, sequence = report.attempt or self._attempt, report.sequence or 0
        if attempt < self._attempt:
            self.left_out["superseded"] += 1
            log.log(
                logging.WARNING if is_completion(report.body) else logging.DEBUG,
                "Call %s: a %s report of attempt %d is left out, for attempt %d has superseded it",
                *(self._correlation_id, type(report.body).__name__.lower(), attempt, self._attempt),
            )
            return False
        self._attempt = attempt
        if isinstance(report.body, Progress) and report.sequence is not None:
            if (attempt, sequence) < self._progress:
                self.left_out["outdated"] += 1
                return False
            self._progress = (attempt, sequence)
        return True

    async def _drop(self, arrival: Arrival) -> None:
        try:
            await arrival.acknowledge()
        except TransportError as error:
            log.info("Call %s: it may come again: %s", self._correlation_id, error)

    async def _find_out(self) -> Completion | None:
        """Ask the service, and give up if it is time."""
        ended = await self._status()
        if ended is not None:
            return ended
        now_s = _now_s()
        if self._deadline_s is not None and now_s >= self._deadline_s:
            raise CallTimeout(
                f"call {self._correlation_id} has not ended in time; it goes on: wait again, or cancel"
            )
        silence_s = self._patience.silence_s
        if silence_s is not None and now_s - self._alive_s >= silence_s:
            raise CallSilent(
                f"call {self._correlation_id}: no sign of life for {now_s - self._alive_s:.0f} s: "
                "the service or its host may be gone, or Pub/Sub does not deliver"
            )
        again_s = self._pause_s()
        if self._unanswered:
            again_s = min(again_s, _soon_s() * 2**self._unanswered)
        self._ask_s = now_s + again_s
        return None

    async def _status(self) -> Completion | None:
        try:
            status = await self._ask()
        except LongcallError as error:
            log.info("The status of call %s is not known: %s", self._correlation_id, error)
            self._unanswered = min(self._unanswered + 1, _UNANSWERED_MAX)
            return None
        self._unanswered = 0
        if status is None or status.correlation_id != self._correlation_id:
            return None
        self._attempt = max(self._attempt, status.attempt)
        # Compared with itself alone: the service's clock is not ours.
        life = (status.state, status.attempt, status.heartbeat_time, status.progress)
        if life != self._life:
            if self._life is not None:
                self._note_life()
            self._life = life
        return status.completion

    async def _report_or(self, ended: Completion) -> Arrival | Completion:
        """Return the completion's report if it is only late: what arrives can be acknowledged."""
        try:
            async with asyncio.timeout(_REPORT_IS_DUE_S):
                return await self._genuine()
        except (TimeoutError, InboxNotFound):
            return self._lost(ended)

    def _lost(self, ended: Completion) -> Completion:
        log.info("Call %s has ended, says the service; its report did not arrive", self._correlation_id)
        return ended

    def _note_life(self) -> None:
        self._alive_s = _now_s()
        self._ask_s = self._alive_s + self._pause_s()

    def _pause_s(self) -> float:
        pause_s = self._patience.ask_after_s * random.uniform(0.75, 1.25)  # noqa: S311 # no secret
        silence_s = self._patience.silence_s
        return pause_s if silence_s is None else min(pause_s, silence_s / 2)


def _soon_s() -> float:
    return random.uniform(*_FIRST_ASK_S)  # noqa: S311 # no secret


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _earliest(ask_s: float, deadline_s: float | None) -> float:
    return ask_s if deadline_s is None else min(ask_s, deadline_s)
