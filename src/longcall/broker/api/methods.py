"""What a method of the API is, whichever way it is reached: gRPC or HTTP.

A method takes the request, a protobuf message, and the call it came in; it returns
the response or raises a `BrokerError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import grpc

from longcall.broker.errors import Unimplemented

__all__ = ["Call", "Context", "Method", "Methods", "name_of", "not_here"]


class Context(Protocol):
    """What a method may know of the call it serves."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller gives up; None: it does not."""
        ...


class Named(Protocol):
    """A topic, subscription, snapshot or schema."""

    name: str


Call: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""A call as gRPC has it."""

Method: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
Methods: TypeAlias = Mapping[str, tuple[Method, Any]]
"""Methods by name, each with the class of its request."""


def name_of(resource: Named) -> str:
    """Return the name of a resource."""
    return resource.name


def not_here(service: str, method: str) -> Unimplemented:
    """Return the refusal of a method of Google Pub/Sub that the broker does not have."""
    return Unimplemented(f"{service}.{method} is not available in this broker; on Google Pub/Sub it may be.")
