"""What Airflow remembers of a call between its steps: small JSON, no arguments, no result, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Self

from longcall.airflow.route import PubSubRoute
from longcall.contract import ContractError, JsonValue, Report
from longcall.contract.instants import decode_instant, encode_instant

__all__ = ["CALL_XCOM_KEY", "CallRecord", "ServicePath"]

CALL_XCOM_KEY = "longcall_call"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePath:
    """Where a call is started.

    Attributes:
        http_conn_id: the HTTP connection to the service; empty: not known.
        endpoint: below that connection's URL, without a query, which may hold secrets.
    """

    http_conn_id: str = ""
    endpoint: str = ""

    @classmethod
    def of(cls, http_conn_id: str, endpoint: str | None) -> Self:
        """Return what may be kept of the arguments of a start."""
        return cls(http_conn_id=http_conn_id, endpoint=(endpoint or "").partition("?")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call, as far as its task needs to know it.

    Attributes:
        correlid: the correlation id.
        inbox: full path of the subscription where its reports arrive.
        lasting: the inbox is shared and outlives the call.
        project_id: the project of topic and inbox.
        gcp_conn_id: the Google connection; not looked up when the Pub/Sub emulator is in use.
        impersonation_chain: service accounts that lead to the one that uses Pub/Sub; empty: the connection's.
        pubsub_endpoint: of Pub/Sub; None: the connection's, or Google's own.
        longcall_conn_id: the `longcall` connection; empty: none.
        http_conn_id: the connection to the service, for cancelling.
        location: URL of the status resource; empty before the start and for a bare service.
        accepted_ms: how long the service took to accept; 0 before the start.
        deadline_s: seconds since the epoch after which nobody waits; None: as long as it takes.
        number: which call of its task since the last clear, from 1.
        silence_s: without a sign of life for so long, it is given up; None: never.
        is_signed: its reports are signed, with a key that `identity.signing_keys` returns.
        traceparent: W3C Trace Context that went out with the request; empty: there was none.
        started_time: when the service accepted, RFC 3339, as the other time; empty before that.
        ended_time: when its completion was published; empty before its task knew of that.
        state: how it ended: `succeeded`, `failed` or `cancelled`; empty before.
        attempt: which run of the work ended it; 0: not known.
        service: who said so: the CloudEvents source of the completion, or the status resource.
        endpoint: as in `ServicePath`.
        own_topic: full path of the call's own topic; empty: its reports come on one that all share.
        waits: id of the task that waits, in the same run; empty: not known.
    """

    correlid: str
    inbox: str
    lasting: bool
    project_id: str
    gcp_conn_id: str
    impersonation_chain: tuple[str, ...] = ()
    pubsub_endpoint: str | None = None
    longcall_conn_id: str = ""
    http_conn_id: str = ""
    location: str = ""
    accepted_ms: int = 0
    deadline_s: float | None = None
    number: int = 1
    silence_s: float | None = None
    is_signed: bool = False
    traceparent: str = ""
    started_time: str = ""
    ended_time: str = ""
    state: str = ""
    attempt: int = 0
    service: str = ""
    endpoint: str = ""
    own_topic: str = ""
    waits: str = ""

    def aimed(self, service: ServicePath) -> Self:
        """Return the record with what it takes to find the call if the answer to its start gets lost."""
        return replace(self, http_conn_id=service.http_conn_id, endpoint=service.endpoint)

    def started(
        self,
        *,
        location: str,
        accepted_ms: int,
        deadline_s: float | None,
        silence_s: float | None,
        is_signed: bool,
        traceparent: str,
    ) -> Self:
        """Return the record of an aimed call once its service has accepted it: now."""
        return replace(
            self,
            started_time=encode_instant(datetime.now(UTC), field="started_time"),
            location=location,
            accepted_ms=accepted_ms,
            deadline_s=deadline_s,
            silence_s=silence_s,
            is_signed=is_signed,
            traceparent=traceparent,
        )

    @property
    def is_answered(self) -> bool:
        """Whether the service has answered the start."""
        return bool(self.started_time)

    @property
    def route(self) -> PubSubRoute:
        """The way to its inbox."""
        return PubSubRoute(self.gcp_conn_id, tuple(self.impersonation_chain), self.pubsub_endpoint)

    def ended(self, report: Report) -> Self:
        """Return the record of the call once its completion is known."""
        return replace(
            self,
            ended_time=encode_instant(report.time or datetime.now(UTC), field="ended_time"),
            state=type(report.body).__name__.lower(),
            attempt=report.attempt or 0,
            service=report.source,
        )

    @property
    def duration_s(self) -> float | None:
        """Seconds from `started_time` to now; None: it has not started."""
        if not self.started_time:
            return None
        return (datetime.now(UTC) - decode_instant(self.started_time, field="started_time")).total_seconds()

    def to_json(self) -> dict[str, JsonValue]:
        """Return the record as XCom and the trigger's arguments hold it."""
        return asdict(self) | {"impersonation_chain": list(self.impersonation_chain)}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read a record that an earlier step wrote; members of a newer version are ignored.

        Raises:
            ContractError: `value` is no record.
        """
        if not isinstance(value, Mapping):
            raise ContractError(
                "call", f"expected the output of the step that created the inbox, not {value!r:.80}"
            )
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        if "impersonation_chain" in known:
            known["impersonation_chain"] = tuple(known["impersonation_chain"])
        try:
            return cls(**known)
        except TypeError as error:
            raise ContractError("call", f"incomplete: {error}") from error
