"""What is done for a call that its task does not wait for: cancel the work, delete the inbox.

Who cannot reach the service leaves the inbox: a sweep finds the call by it.
"""

from __future__ import annotations

import logging
import time
from enum import Enum
from typing import Final

from longcall._core.errors import LongcallError
from longcall.airflow.connections import find_access
from longcall.airflow.ending import PATIENCE_S, Ending, end_call
from longcall.airflow.inbox_admin import InboxAdmin
from longcall.airflow.killing import KILL_PATIENCE_S, TaskKilled
from longcall.airflow.record import CallRecord
from longcall.airflow.service_hook import RequestNotSent
from longcall.airflow.version_compat import Context, task_state
from longcall.client import CallRefused

__all__ = [
    "Undoing",
    "abandon",
    "check_still_wanted",
    "delete_inbox",
    "drop_inbox",
    "give_up",
    "undo_start",
    "undoing",
]

log = logging.getLogger(__name__)

_ENDED: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed", "restarting"})
"""States in which the task is not this try's any more."""
_INBOX_PATIENCE_S: Final = 60.0
"""How long a worker goes on when Pub/Sub is away, beyond the ten seconds of each request."""
_INBOX_PAUSE_S: Final = 1.0


def check_still_wanted(context: Context) -> None:
    """Return if the task still runs. Who is ended now is not deferred any more, and no trigger would know.

    Raises:
        TaskKilled: a user, or Airflow, has ended it.
    """
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    state = task_state(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=map_index)
    if state in _ENDED:
        raise TaskKilled(f"the task was set to {state} while it started its call")


class Undoing(Enum):
    """What becomes of a call whose start has failed, or was broken off."""

    LEAVE = "the next try goes on with it"
    DROP = "nothing was started"
    CANCEL = "it may work"


def undoing(error: BaseException, *, is_answered: bool, is_last: bool) -> Undoing:
    """Decide what becomes of a call that its task did not get to wait for.

    Args:
        error: why.
        is_answered: the service has accepted it.
        is_last: the task has no further try, which could go on with it.
    """
    if is_answered or not isinstance(error, LongcallError):
        return Undoing.CANCEL
    if isinstance(error, RequestNotSent) or not error.retryable:
        return Undoing.DROP
    return Undoing.CANCEL if is_last or isinstance(error, CallRefused) else Undoing.LEAVE


def undo_start(record: CallRecord, error: BaseException, *, is_last: bool, keep_inbox: bool = False) -> None:
    """Clean up after a start that has failed, or was broken off.

    What may have been started is cancelled, unless the answer alone is missing and another try comes: that
    goes on with it. Until then the inbox stays, for a sweep to find the call by.

    Args:
        record: the call, aimed.
        error: why.
        is_last: the task has no further try.
        keep_inbox: leave it to another task.
    """
    what = undoing(error, is_answered=record.is_answered, is_last=is_last)
    if what is Undoing.CANCEL:
        patience_s = KILL_PATIENCE_S if isinstance(error, TaskKilled) else PATIENCE_S
        under_way = not isinstance(error, CallRefused)
        give_up(record, patience_s=patience_s, is_under_way=under_way, keep_inbox=keep_inbox)
    elif what is Undoing.LEAVE:
        log.info("Call %s may have been started: the next try goes on with it", record.correlid)
    elif not keep_inbox:
        drop_inbox(record)


def abandon(record: CallRecord) -> None:
    """Cancel the work and delete the inbox of a call that nobody waits for; log what is left."""
    give_up(record)


def give_up(
    record: CallRecord,
    *,
    patience_s: float = PATIENCE_S,
    is_under_way: bool = False,
    keep_inbox: bool = False,
) -> None:
    """Do as `abandon`; arguments as of `end_call`, and `keep_inbox` leaves that to another task."""
    ending = end_call(record, patience_s=patience_s, is_under_way=is_under_way)
    if ending is not Ending.NOT_KNOWN:
        log.info("Call %s: %s", record.correlid, ending.value)
    if keep_inbox:
        return
    if ending is Ending.UNREACHED:
        log.warning("Inbox %s is left, for a sweep to find the call by", record.inbox)
    else:
        drop_inbox(record)


def drop_inbox(record: CallRecord, *, patience_s: float = _INBOX_PATIENCE_S) -> None:
    """Delete the call's own inbox; while Pub/Sub is away, try again. Log when it is left to expire."""
    end_s = time.monotonic() + patience_s
    while True:
        try:
            delete_inbox(record)
        except LongcallError as error:
            if not error.retryable or time.monotonic() >= end_s:
                log.warning("Inbox %s is left to expire: %s", record.inbox, error)
                if record.own_topic:
                    log.warning("Topic %s may be left, and does not expire", record.own_topic)
                return
            log.info("Inbox %s is not deleted yet: %s", record.inbox, error)
            time.sleep(_INBOX_PAUSE_S)
        else:
            return


def delete_inbox(record: CallRecord) -> None:
    """Delete the call's own inbox; one that is gone is deleted. A shared inbox stays.

    Raises:
        TransportError: it may still be there; it expires by itself.
    """
    if record.lasting:
        return
    with InboxAdmin(find_access(record.route)) as inboxes:
        inboxes.delete(record.inbox, own_topic=record.own_topic)
    log.info("Deleted inbox %s", record.inbox)
