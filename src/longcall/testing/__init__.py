"""Public fixtures and doubles for users' own tests."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longcall.testing.broker import running_broker
    from longcall.testing.clock import VirtualClock
    from longcall.testing.inspection import BrokerEvent, InspectedBroker, NeverHappened
    from longcall.testing.process import BrokerProcess
    from longcall.testing.server import running_service
    from longcall.testing.service import RequestRefused, ServiceClient, StartedCall

__all__ = [
    "BrokerEvent",
    "BrokerProcess",
    "InspectedBroker",
    "NeverHappened",
    "RequestRefused",
    "ServiceClient",
    "StartedCall",
    "VirtualClock",
    "running_broker",
    "running_service",
]

_HOMES = {
    "BrokerEvent": "inspection",
    "BrokerProcess": "process",
    "InspectedBroker": "inspection",
    "NeverHappened": "inspection",
    "RequestRefused": "service",
    "ServiceClient": "service",
    "StartedCall": "service",
    "VirtualClock": "clock",
    "running_broker": "broker",
    "running_service": "server",
}


def __getattr__(name: str) -> object:
    """Import what is asked for: every run of pytest imports this package, for the plugin in it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
