"""For callers: start a call, wait for it, cancel it; and the router that all waits share."""

from longcall.client._backoff import Backoff
from longcall.client.answer import StartAnswer, completion_result, read_start_answer, refusal
from longcall.client.client import AsyncClient, StartedCall
from longcall.client.config import ClientConfig, RouterConfig, Signing
from longcall.client.errors import (
    CallCancelled,
    CallError,
    CallFailed,
    CallRefused,
    CallSilent,
    CallTimeout,
    CallUnreachable,
    ResultNotFetched,
)
from longcall.client.policy import (
    CallAddress,
    InboxPolicy,
    PerCallInbox,
    PerCallTopicInbox,
    SharedInbox,
    delete_address,
    find_inboxes,
)
from longcall.client.results import ResultAccess, fetch_result
from longcall.client.router import Arrival, Arrivals, Router, SetAside
from longcall.client.starting import StartAttempts
from longcall.client.sync import Client
from longcall.client.watching import CallWatch, Patience

__all__ = [
    "Arrival",
    "Arrivals",
    "AsyncClient",
    "Backoff",
    "CallAddress",
    "CallCancelled",
    "CallError",
    "CallFailed",
    "CallRefused",
    "CallSilent",
    "CallTimeout",
    "CallUnreachable",
    "CallWatch",
    "Client",
    "ClientConfig",
    "InboxPolicy",
    "Patience",
    "PerCallInbox",
    "PerCallTopicInbox",
    "ResultAccess",
    "ResultNotFetched",
    "Router",
    "RouterConfig",
    "SetAside",
    "SharedInbox",
    "Signing",
    "StartAnswer",
    "StartAttempts",
    "StartedCall",
    "completion_result",
    "delete_address",
    "fetch_result",
    "find_inboxes",
    "read_start_answer",
    "refusal",
]
