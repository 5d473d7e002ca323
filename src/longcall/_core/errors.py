"""The root of every error that longcall raises.

Families follow what the caller does next: `ContractError` (stop and fix the
input), `TransportError` (try again), `CallError` (the service answered, or ran
out of time). Each lives in the room that raises it.
"""

from __future__ import annotations

__all__ = ["LongcallError"]


class LongcallError(Exception):
    """Root of longcall's errors.

    Attributes:
        retryable: whether the same action may succeed later, unchanged.
    """

    retryable: bool = False
