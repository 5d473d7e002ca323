"""For callers: start a call, wait for it, cancel it; and the router that all waits share."""

from longcall.client.answer import StartAnswer, completion_result, read_start_answer, refusal
from longcall.client.config import RouterConfig
from longcall.client.errors import (
    CallCancelled,
    CallError,
    CallFailed,
    CallRefused,
    CallTimeout,
    CallUnreachable,
)
from longcall.client.policy import CallAddress, InboxPolicy, PerCallInbox, SharedInbox
from longcall.client.router import Arrival, Arrivals, Router

__all__ = [
    "Arrival",
    "Arrivals",
    "CallAddress",
    "CallCancelled",
    "CallError",
    "CallFailed",
    "CallRefused",
    "CallTimeout",
    "CallUnreachable",
    "InboxPolicy",
    "PerCallInbox",
    "Router",
    "RouterConfig",
    "SharedInbox",
    "StartAnswer",
    "completion_result",
    "read_start_answer",
    "refusal",
]
