"""What can go wrong with the demo."""

from __future__ import annotations

from longcall._core.errors import LongcallError

__all__ = ["DemoFailed"]


class DemoFailed(LongcallError):
    """A DAG run of the demo did not do what it should. The message says what, and where its log is."""
