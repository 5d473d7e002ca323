"""Which way leads to Pub/Sub, as far as a task says: small, not secret, kept with the call. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from longcall.contract import ContractError

__all__ = ["PubSubRoute", "accounts_in", "checked_endpoint"]

_ENDPOINT: Final = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class PubSubRoute:
    """A Google connection, and what a task or a `longcall` connection changes about it.

    Attributes:
        gcp_conn_id: the connection; not looked up while the emulator's variable is set.
        impersonation_chain: service accounts, the last of which is who asks; empty: as the connection has it.
        endpoint: `host` or `host:port` of Pub/Sub; None: as the connection has it, else Google's.
    """

    gcp_conn_id: str
    impersonation_chain: tuple[str, ...] = ()
    endpoint: str | None = None


def accounts_in(chain: object, *, field: str = "impersonation_chain") -> tuple[str, ...]:
    """Read an impersonation chain: an e-mail address, several with commas, or a list of them; None: empty.

    Raises:
        ContractError: it is something else.
    """
    names = chain.split(",") if isinstance(chain, str) else chain
    if names is None or names == [""]:
        return ()
    if isinstance(names, Sequence) and all(isinstance(name, str) and "@" in name for name in names):
        return tuple(name.strip() for name in names)
    raise ContractError(field, f"a service account's e-mail address, or a list of them, not {chain!r:.80}")


def checked_endpoint(value: str, *, field: str) -> str:
    """Return the endpoint.

    Raises:
        ContractError: it is none.
    """
    if not _ENDPOINT.fullmatch(value):
        raise ContractError(
            field, f"{value!r:.80} is not host or host:port, e.g. us-east1-pubsub.googleapis.com"
        )
    return value
