"""Public fixtures and doubles for users' own tests."""

from longcall.testing.broker import running_broker

__all__ = ["running_broker"]
