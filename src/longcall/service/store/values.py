"""What goes into the store and comes out of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from longcall.contract import (
    CallRequest,
    CallState,
    CallStatus,
    Completion,
    LogLine,
    Progress,
    Report,
    SigningKey,
)
from longcall.service.observer import Observer

__all__ = ["Assignment", "CallFilter", "CallSummary", "Due", "Interrupted", "StoredCall", "StoredLine"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """One call.

    Attributes:
        digest: what a repeated request must share with the first.
        handler: path of the handler.
        caller: as in `CallRequest`.
        status: what the status resource says.
    """

    digest: str
    handler: str
    caller: str
    status: CallStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    """One call in a list: what can be told without its result.

    Attributes:
        number: rises from call to call as they are accepted.
        caller: as in `CallRequest`.
        progress: the last that its last run reported.
        title: of the problem of a failed call.
    """

    number: int
    correlation_id: str
    handler: str
    caller: str
    state: CallState
    attempt: int
    accepted_time: datetime
    started_time: datetime | None
    ended_time: datetime | None
    progress: Progress | None
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLine:
    """One line of a call's log.

    Attributes:
        number: from 1; the first ones may be gone.
        attempt: the run that said it.
        line: what it said.
    """

    number: int
    attempt: int
    line: LogLine


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls to list; None: whatever.

    Attributes:
        state: where they stand.
        handler: path of their handler.
        accepted_since: aware.
    """

    state: CallState | None = None
    handler: str | None = None
    accepted_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One attempt of one call, for whoever claimed it.

    Attributes:
        request: what the caller asked for.
        handler: path of the handler.
        attempt: from 1; every write of this run carries it.
        waited_s: between acceptance and this claim.
    """

    request: CallRequest
    handler: str
    attempt: int
    waited_s: float

    @property
    def correlation_id(self) -> str:
        """The call."""
        return self.request.correlation_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A completion that has to be published.

    Attributes:
        report: the same each time it is asked for, but for its source.
        reply_topic: empty: the service's own topic.
        signing_keys: to sign it with.
    """

    correlation_id: str
    attempt: int
    completion: Completion
    sequence: int
    ended_time: datetime
    traceparent: str
    reply_topic: str
    signing_keys: tuple[SigningKey, ...]

    def report(self, *, source: str) -> Report:
        """Return the report, the same each time: a duplicate has the id of the first."""
        return Report(
            correlation_id=self.correlation_id,
            body=self.completion,
            id=f"{self.correlation_id}/{self.attempt}/{self.sequence}",
            source=source,
            time=self.ended_time,
            attempt=self.attempt,
            sequence=self.sequence,
            traceparent=self.traceparent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """What became of the calls whose work had died with its process.

    Attributes:
        rerun: they wait to be run again.
        failed: they failed.
        cancelled: their cancellation had been asked for.
        handlers: the handler of each.
    """

    rerun: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    handlers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def tell(self, observer: Observer) -> None:
        """Say it in the log, and to an observer."""
        for names, fate, state in (
            (self.rerun, "is run again", None),
            (self.failed, "has failed", CallState.FAILED),
            (self.cancelled, "is cancelled", CallState.CANCELLED),
        ):
            for name in names:
                log.warning("Call %s: its process died; it %s", name, fate)
                observer.interrupted(self.handlers[name])
                if state is not None:
                    observer.ended(self.handlers[name], state=state, ran_s=None)
