"""The embedded Pub/Sub: Google's API on one machine, filters and all. Knows nothing of calls."""

from longcall.broker.config import BrokerConfig
from longcall.broker.errors import BrokerConfigError, BrokerError, StoreError
from longcall.broker.server import Broker

__all__ = ["Broker", "BrokerConfig", "BrokerConfigError", "BrokerError", "StoreError"]
