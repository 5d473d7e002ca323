"""What is true about each call, kept where a killed process cannot take it along."""

from longcall.service.store.calls import CallStore
from longcall.service.store.location import MEMORY, is_shared, open_store
from longcall.service.store.values import (
    Assignment,
    CallFilter,
    CallSummary,
    Due,
    Interrupted,
    StoredCall,
    StoredLine,
)

__all__ = [
    "MEMORY",
    "Assignment",
    "CallFilter",
    "CallStore",
    "CallSummary",
    "Due",
    "Interrupted",
    "StoredCall",
    "StoredLine",
    "is_shared",
    "open_store",
]
