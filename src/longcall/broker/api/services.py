"""Which services a broker has: the table that gRPC and HTTP both serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from longcall._core.clock import Clock, ShiftedClock
from longcall.broker.api.handlers import StreamingPullMethod
from longcall.broker.api.iam import IamApi
from longcall.broker.api.methods import Call, Methods
from longcall.broker.api.publisher import PublisherApi
from longcall.broker.api.schema_service import SchemaApi
from longcall.broker.api.subscriber import SubscriberApi
from longcall.broker.api.testing import TESTING_SERVICE, TestingApi, disturb, with_faults
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.journal import Journal

__all__ = ["Services", "make_services", "make_testing_services"]


class Services(NamedTuple):
    """The API.

    Attributes:
        unary: methods by the full name of their service.
        streaming_pull: the one method that is a stream.
    """

    unary: Mapping[str, Methods]
    streaming_pull: StreamingPullMethod


def make_services(core: BrokerCore, clock: Clock) -> Services:
    """Return the API of a broker."""
    subscriber = SubscriberApi(core, clock)
    unary = {
        "google.iam.v1.IAMPolicy": IamApi(core).methods(),
        "google.pubsub.v1.Publisher": PublisherApi(core).methods(),
        "google.pubsub.v1.SchemaService": SchemaApi(core).methods(),
        "google.pubsub.v1.Subscriber": subscriber.methods(),
    }
    return Services(unary, subscriber.streaming_pull)


def make_testing_services(core: BrokerCore, clock: ShiftedClock) -> Services:
    """Return the API of a broker that a test may look into and disturb."""
    ordinary = make_services(core, clock)
    journal = core.state.observer = Journal(clock)
    faults = core.state.faults
    disturbed = {name: with_faults(methods, faults) for name, methods in ordinary.unary.items()}
    testing = TestingApi(core, journal, clock).methods()

    async def streaming_pull(requests: Any, call: Call) -> None:
        await disturb("StreamingPull", faults)
        await ordinary.streaming_pull(requests, call)

    return Services({**disturbed, TESTING_SERVICE: testing}, streaming_pull)
