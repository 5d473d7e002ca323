"""What a method of the API is, whichever way it is reached: gRPC or HTTP.

A method takes the request, a protobuf message, and the call it came in; it returns
the response or raises a `BrokerError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from longcall.broker.errors import Unimplemented

__all__ = ["Context", "Method", "Methods", "name_of", "not_here"]


class Context(Protocol):
    """What a method may know of the call it serves."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller gives up; None: it does not."""
        ...


Method: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Methods: TypeAlias = Mapping[str, tuple[Method, Any]]
"""Methods by name, each with the class of its request."""


def name_of(resource: Any) -> str:
    """Return the name of a topic, subscription, snapshot or schema."""
    return str(resource.name)


def not_here(service: str, method: str) -> Unimplemented:
    """Return the refusal of a method of Google Pub/Sub that the broker does not have."""
    return Unimplemented(f"{service}.{method} is not available in this broker; on Google Pub/Sub it may be.")
