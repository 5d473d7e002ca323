"""What Airflow remembers of a call between its steps: small JSON, no arguments, no result, no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self

from longcall.airflow.route import PubSubRoute
from longcall.contract import ContractError, JsonValue

__all__ = ["CALL_XCOM_KEY", "CallRecord"]

CALL_XCOM_KEY = "longcall_call"


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
        http_conn_id: the connection to the service, for cancelling.
        location: URL of the status resource; empty before the start and for a bare service.
        accepted_ms: how long the service took to accept; 0 before the start.
        deadline_s: seconds since the epoch after which nobody waits; None: as long as it takes.
        number: which call of its task since the last clear, from 1.
        silence_s: without a sign of life for so long, it is given up; None: never.
        is_signed: its reports are signed, with the key that `identity.signing_key` returns.
    """

    correlid: str
    inbox: str
    lasting: bool
    project_id: str
    gcp_conn_id: str
    impersonation_chain: tuple[str, ...] = ()
    pubsub_endpoint: str | None = None
    http_conn_id: str = ""
    location: str = ""
    accepted_ms: int = 0
    deadline_s: float | None = None
    number: int = 1
    silence_s: float | None = None
    is_signed: bool = False

    def started(
        self,
        *,
        http_conn_id: str,
        location: str,
        accepted_ms: int,
        deadline_s: float | None,
        silence_s: float | None,
        is_signed: bool,
    ) -> Self:
        """Return the record of the call once its service has accepted it."""
        return replace(
            self,
            http_conn_id=http_conn_id,
            location=location,
            accepted_ms=accepted_ms,
            deadline_s=deadline_s,
            silence_s=silence_s,
            is_signed=is_signed,
        )

    @property
    def route(self) -> PubSubRoute:
        """The way to its inbox."""
        return PubSubRoute(self.gcp_conn_id, tuple(self.impersonation_chain), self.pubsub_endpoint)

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
