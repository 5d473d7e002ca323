"""Each public name has one documented home; a new one is added here on purpose."""

from __future__ import annotations

import importlib

import pytest

NAMES = {
    "longcall.airflow": {
        "CompletionTrigger",
        "CreateInboxOperator",
        "DeleteInboxOperator",
        "LongCallOperator",
        "LongCallSensor",
        "LongCallSweepOperator",
        "LongCallTaskGroup",
        "ServiceCompletionsTrigger",
        "StartCallOperator",
        "WaitForCompletionOperator",
    },
    "longcall.broker": {"Broker", "BrokerConfig", "BrokerConfigError", "BrokerError", "StoreError"},
    "longcall.service": {
        "AuthConfig",
        "Call",
        "CallFailed",
        "Handler",
        "Result",
        "Service",
        "ServiceConfig",
        "ServiceConfigError",
    },
    "longcall.testing": {
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
    },
}


@pytest.mark.parametrize("room", NAMES)
def test_public_names_of_a_room_are_these(room: str) -> None:
    module = importlib.import_module(room)

    assert set(module.__all__) == NAMES[room]
    assert all(hasattr(module, name) for name in NAMES[room])
