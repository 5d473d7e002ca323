"""What a method of the API is, whichever way it is reached: gRPC or HTTP.

A method takes the request, a protobuf message, and the call it came in; it returns
the response or raises a `BrokerError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

__all__ = ["Context", "Method", "Methods", "name_of"]


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
