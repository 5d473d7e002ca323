"""What goes wrong when something does not meet the contract."""

from __future__ import annotations

from longcall._core.errors import LongcallError

__all__ = ["ContractError", "MalformedReport", "MalformedRequest"]


class ContractError(LongcallError):
    """A value that the contract does not allow: stop, and fix it.

    Attributes:
        field: the name of the field, as its sender knows it.
        reason: what is wrong with it, and what would be right.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class MalformedReport(ContractError):
    """A message on the topic that claims to be a report and cannot be read as one."""


class MalformedRequest(ContractError):
    """A start request that a service cannot accept as it stands; answered 400."""
