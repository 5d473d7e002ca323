"""For services: an ordinary function becomes a call that answers 202 and publishes its completion."""

from longcall.service.auth import AuthConfig
from longcall.service.call import Call, Handler, Result
from longcall.service.config import ServiceConfig
from longcall.service.errors import CallFailed, ServiceConfigError
from longcall.service.service import Service

__all__ = [
    "AuthConfig",
    "Call",
    "CallFailed",
    "Handler",
    "Result",
    "Service",
    "ServiceConfig",
    "ServiceConfigError",
]
