"""Ends a call that nobody waits for any more: at its service, once, by whoever learns of it first.

A service is asked again while it does not answer, for a bounded time. It is asked how the call stands
before it is asked to cancel, so that a call which has ended, or which somebody else is ending, is let be.
"""

from __future__ import annotations

import logging
import time
from enum import Enum
from typing import Final

from longcall._core.errors import LongcallError
from longcall.airflow.metrics import count_cancel_request
from longcall.airflow.record import CallRecord
from longcall.airflow.service_hook import ServiceHook
from longcall.airflow.version_compat import AirflowNotFoundException
from longcall.client import CallRefused

__all__ = ["PATIENCE_S", "Ending", "end_call"]

log = logging.getLogger(__name__)

PATIENCE_S: Final = 20.0
"""How long to go on asking a service that does not answer. Airflow gives a trigger's `on_kill` 30 s."""
_REQUEST_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 3.0
_NOT_FOUND: Final = 404


class Ending(Enum):
    """What became of the attempt to end a call."""

    ASKED = "the service was asked to cancel it"
    OVER = "it had ended"
    NOT_KNOWN = "its service does not know it, or takes no cancellation"
    UNREACHED = "its service does not answer"


def end_call(record: CallRecord, *, patience_s: float = PATIENCE_S, is_under_way: bool = False) -> Ending:
    """Cancel a call, unless it has ended.

    A repeat does nothing more. A call whose status resource is not known, for the answer to its start got
    lost, is asked for at the endpoint; a bare service has no answer to that.

    Args:
        record: the call.
        patience_s: how long to go on while the service does not answer.
        is_under_way: the start may still be on its way, so that a service which does not know the call is
            asked again, too.
    """
    if not record.http_conn_id:
        return Ending.NOT_KNOWN
    end_s, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while True:
        try:
            return _try_to_end(record)
        except AirflowNotFoundException as error:
            log.info("Call %s is not cancelled: %s", record.correlid, error)
            return Ending.NOT_KNOWN
        except LongcallError as error:
            is_early = is_under_way and isinstance(error, CallRefused) and error.status == _NOT_FOUND
            if not (error.retryable or is_early):
                log.info("Call %s is not cancelled: %s", record.correlid, error)
                return Ending.NOT_KNOWN
            if time.monotonic() + pause_s > end_s:
                log.warning("Call %s could not be cancelled: %s", record.correlid, error)
                return Ending.NOT_KNOWN if is_early else Ending.UNREACHED
            log.info("Call %s is not cancelled yet; again in %.1f s: %s", record.correlid, pause_s, error)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _try_to_end(record: CallRecord) -> Ending:
    hook = ServiceHook(record.http_conn_id)
    location = record.location
    if not location and not record.is_answered:
        location = hook.find(record.correlid, endpoint=record.endpoint, timeout_s=_REQUEST_S)
    if not location:
        return Ending.NOT_KNOWN
    if _has_ended(hook, record.correlid, location):
        return Ending.OVER
    count_cancel_request()
    return Ending.ASKED if hook.cancel(location, timeout_s=_REQUEST_S) else Ending.NOT_KNOWN


def _has_ended(hook: ServiceHook, correlid: str, location: str) -> bool:
    try:
        status = hook.status(location, timeout_s=_REQUEST_S)
    except LongcallError as error:
        if error.retryable:
            raise
        return False  # it may cancel what it does not show
    return status is not None and status.correlation_id == correlid and status.state.is_final
