"""How the client and its router are configured."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, TypeAlias, get_args

from longcall.client._unclaimed import HoldRules
from longcall.client.results import ResultAccess
from longcall.client.starting import StartAttempts
from longcall.contract import ContractError, resource_path

__all__ = ["ClientConfig", "RouterConfig", "Signing"]

Signing: TypeAlias = Literal["auto", "required", "off"]

_FIRST_HOLD_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """How patient the router is.

    Attributes:
        lease: for how long a delivered report is leased at a time, 10 to 600 s; renewed while it is held.
        unclaimed_hold: how long at most a report that nobody waits for is held at a time, for a waiter
            about to register. It begins with 10 ms and doubles, and in between others may have it.
        unclaimed_backoff: for how long at most it is put off after that, 2 s or more; doubles.
        unclaimed_backoff_max: the longest time to put it off, at most 600 s.
        max_unclaimed: of them at most so many are held at once.
        set_aside_after: since its publish; a completion that nobody has claimed by then is set aside.
        dead_letter_topic: full path of the topic where what is set aside is published, with the reason.
            Empty: it stays in the inbox, is looked at every few minutes, and said in the log.
        reconnect_min: pause before the first attempt to reconnect; doubles, with jitter.
        reconnect_max: the longest pause.
    """

    lease: timedelta = timedelta(seconds=60)
    unclaimed_hold: timedelta = timedelta(seconds=5)
    unclaimed_backoff: timedelta = timedelta(seconds=10)
    unclaimed_backoff_max: timedelta = timedelta(seconds=60)
    max_unclaimed: int = 10_000
    set_aside_after: timedelta = timedelta(hours=24)
    dead_letter_topic: str = ""
    reconnect_min: timedelta = timedelta(milliseconds=100)
    reconnect_max: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Refuse what the message system would refuse, or what makes no sense.

        Raises:
            ContractError: names the field.
        """
        for name in ("lease", "unclaimed_backoff_max"):
            if not timedelta(seconds=10) <= getattr(self, name) <= timedelta(seconds=600):
                raise ContractError(name, "10 to 600 seconds")
        if self.unclaimed_backoff < timedelta(seconds=2):
            raise ContractError("unclaimed_backoff", "at least 2 seconds")
        for name in ("unclaimed_hold", "set_aside_after", "reconnect_min", "reconnect_max"):
            if getattr(self, name) <= timedelta(0):
                raise ContractError(name, "more than 0")
        if self.max_unclaimed < 1:
            raise ContractError("max_unclaimed", "at least 1")
        if self.dead_letter_topic:
            resource_path(
                self.dead_letter_topic, project=None, collection="topics", field="dead_letter_topic"
            )

    @property
    def hold_rules(self) -> HoldRules:
        """The same for the table."""
        hold_max_s = self.unclaimed_hold.total_seconds()
        put_off_max_s = self.unclaimed_backoff_max.total_seconds()
        return HoldRules(
            hold_min_s=min(_FIRST_HOLD_S, hold_max_s),
            hold_max_s=hold_max_s,
            put_off_min_s=min(self.unclaimed_backoff.total_seconds(), put_off_max_s),
            put_off_max_s=put_off_max_s,
            max_held=self.max_unclaimed,
            overdue_s=self.set_aside_after.total_seconds(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How patient a client is.

    Attributes:
        request_timeout: for each step of one HTTP request, where the client makes its own connections.
        start_attempts: how often the start is asked for, with the same id, before giving up.
        retry_min: pause before the second attempt; doubles, with jitter.
        retry_max: the longest pause. A service that asks for a longer one (`Retry-After`) is not asked again.
        reconcile_interval: without news for so long, the service itself is asked how the call stands.
        heartbeat_timeout: without a sign of life for so long, neither a report nor a new heartbeat in the
            status resource, the call is given up. None: never. Services of this package send a heartbeat
            every 30 s.
        signing: `auto`: reports of a service that says it signs them must be signed; `required`: a service
            that does not is not called; `off`: no key is sent, and any report is taken.
        results: from where results by reference may be fetched; nowhere, if this says nothing.
        router: how reports are received.
    """

    request_timeout: timedelta = timedelta(seconds=30)
    start_attempts: int = 5
    retry_min: timedelta = timedelta(milliseconds=500)
    retry_max: timedelta = timedelta(seconds=10)
    reconcile_interval: timedelta = timedelta(minutes=5)
    heartbeat_timeout: timedelta | None = None
    signing: Signing = "auto"
    results: ResultAccess = field(default_factory=ResultAccess)
    router: RouterConfig = field(default_factory=RouterConfig)

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ContractError: names the field.
        """
        for name in ("request_timeout", "retry_min", "retry_max", "reconcile_interval"):
            if getattr(self, name) <= timedelta(0):
                raise ContractError(name, "more than 0")
        if self.heartbeat_timeout is not None and self.heartbeat_timeout <= timedelta(0):
            raise ContractError("heartbeat_timeout", "more than 0, or None")
        if self.signing not in get_args(Signing):
            raise ContractError("signing", f"one of {', '.join(get_args(Signing))}")
        if self.start_attempts < 1:
            raise ContractError("start_attempts", "at least 1")

    def new_start_attempts(self) -> StartAttempts:
        """Return the count of the attempts of one start."""
        return StartAttempts(
            attempts=self.start_attempts,
            min_s=self.retry_min.total_seconds(),
            max_s=self.retry_max.total_seconds(),
        )
