"""The broker without its sockets: everything that requests, time and the store act on."""

from __future__ import annotations

from longcall._core.clock import Clock
from longcall.broker.core.policies import Policies
from longcall.broker.core.schema_checks import SchemaChecks
from longcall.broker.core.schema_compiler import SchemaCompiler
from longcall.broker.core.schemas import Schemas
from longcall.broker.core.snapshots import Snapshots
from longcall.broker.core.state import BrokerState
from longcall.broker.core.store import SavedState, Store
from longcall.broker.core.subscriptions import Subscriptions
from longcall.broker.core.sweeper import Sweeper
from longcall.broker.core.timers import Timers
from longcall.broker.core.topics import Topics
from longcall.broker.core.traffic import Traffic
from longcall.broker.errors import Unavailable

__all__ = ["BrokerCore"]


class BrokerCore:
    """All of one broker. For one event loop.

    Attributes:
        state: the tables that the others share.
        topics: create, change, list, delete.
        subscriptions: likewise, and detach.
        snapshots: likewise, and seek.
        schemas: likewise, and their revisions.
        policies: of IAM: set and read.
        schema_checks: messages against them.
        traffic: publish, acknowledge, extend.
        timers: when leases end.
        sweeper: what happens then, and when something has grown too old.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.state = BrokerState(store, clock)
        self.timers = Timers()
        compiler = SchemaCompiler()
        self.schemas = Schemas(self.state, compiler)
        self.schema_checks = SchemaChecks(self.state, compiler)
        self.topics = Topics(self.state, self.schema_checks)
        self.subscriptions = Subscriptions(self.state)
        self.snapshots = Snapshots(self.state, self.subscriptions)
        self.traffic = Traffic(self.state, self.timers, self.subscriptions, self.schema_checks)
        self.policies = Policies(self.state)
        self.sweeper = Sweeper(
            self.state, self.timers, self.traffic, self.subscriptions, self.snapshots, self.policies
        )

    def load(self, saved: SavedState) -> None:
        """Start again from what the store has kept."""
        self.timers.clear()
        self.state.load(saved)

    def end_streams(self) -> None:
        """Tell whoever waits for messages that the broker stops."""
        for subscription in self.state.subscriptions.values():
            subscription.end(Unavailable("The broker is stopping; try again."))
