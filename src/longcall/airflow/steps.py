"""The steps of a call, as functions over a record: one task of the operator, four of the group.

`prepare` mints the id and creates the inbox, `start` sends the request, `look`
waits a moment for a very quick service, the trigger waits for all others,
`finish` reads the result, and `abandon` undoes a call that nobody waits for
any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast, get_args

from longcall._core.errors import LongcallError
from longcall.airflow import metrics
from longcall.airflow.arguments import InboxChoice, StartRequest
from longcall.airflow.completion import COMPLETION_XCOM_KEY, result_for_xcom, status_report, stored_report
from longcall.airflow.connections import find_access, resolve_project
from longcall.airflow.errors import AnswerRejected, WaitFailed
from longcall.airflow.identity import TaskTry, signing_key
from longcall.airflow.inbox_admin import InboxAdmin
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.route import PubSubRoute
from longcall.airflow.service_hook import ServiceHook, StartedCall, encode_arguments
from longcall.airflow.tracing import link_to_service, outgoing_traceparent
from longcall.airflow.trigger import CompletionTrigger, EventStatus
from longcall.airflow.version_compat import Context, load_across_tries, store_across_tries
from longcall.client import CallError, CallTimeout, ResultAccess, Signing
from longcall.contract import (
    CallRequest,
    CallStatus,
    Completion,
    ContractError,
    JsonValue,
    Report,
    SigningKey,
    sanitize_label,
)

__all__ = [
    "abandon",
    "completion_trigger",
    "delete_inbox",
    "drop_inbox",
    "finish",
    "forget_cleared",
    "look",
    "prepare",
    "remember",
    "start",
    "take",
]

log = logging.getLogger(__name__)

_LOOKS_S = (0.1, 0.3)
"""Pauses before each look whether a very quick service has ended the call already."""
_LOOK_TIMEOUT_S = 2.0
_HOLD_BACK_S = 10.0
"""From the deferral to the earliest resumption: longer than a loop of a busy scheduler. See ADR 3."""


def forget_cleared(context: Context) -> None:
    """Undo the call of an earlier try whose task was cleared since then, in case no trigger could (3.3+)."""
    kept = load_across_tries(context, CALL_XCOM_KEY)
    if not isinstance(kept, Mapping) or kept.get("first_try") == TaskTry.of(context).first:
        return
    record = CallRecord.from_json(kept.get("call"))
    log.info("The task was cleared: cancelling its call %s, unless it has ended", record.correlid)
    abandon(record)


def prepare(choice: InboxChoice, context: Context, *, number: int = 1) -> CallRecord:
    """Make the id and create the inbox. What is published from now on will be in it.

    The same try again, or a later one that was not cleared, makes the same id.

    Args:
        choice: where the answer shall arrive.
        context: the task's.
        number: which call of the task since its last clear.

    Raises:
        ContractError, TransportError: nothing is left behind.
    """
    project = resolve_project(choice.project_id, route=PubSubRoute(choice.gcp_conn_id))
    address = choice.address(
        project=project, labels=_labels(context), token=TaskTry.of(context).token(number)
    )
    with InboxAdmin(find_access(PubSubRoute(choice.gcp_conn_id))) as inboxes:
        inboxes.create(address.inbox)
    log.info("Call %s: inbox %s is ready", address.correlation_id, address.inbox.name)
    return CallRecord(
        correlid=address.correlation_id,
        inbox=address.inbox.name,
        lasting=address.lasting,
        project_id=project,
        gcp_conn_id=choice.gcp_conn_id,
        number=number,
    )


def remember(record: CallRecord, context: Context) -> None:
    """Push the call as an XCom, for whoever looks and for the trigger. A repeat overwrites.

    On Airflow 3.3 later tries find it, too.

    A trigger on a shared inbox also asks for a completion that an earlier run of it stored. It finds an
    empty one, for Airflow logs an error where it finds none.
    """
    context["ti"].xcom_push(key=CALL_XCOM_KEY, value=record.to_json())
    kept: dict[str, JsonValue] = {"first_try": TaskTry.of(context).first, "call": record.to_json()}
    store_across_tries(context, CALL_XCOM_KEY, kept)
    if record.lasting:
        context["ti"].xcom_push(key=COMPLETION_XCOM_KEY, value={})


def start(
    record: CallRecord, request: StartRequest, context: Context
) -> tuple[CallRecord, CallStatus | None]:
    """Send the quick request that starts the work; the same record again is the same call.

    The status tells a call that an earlier try has started from a new one; None: the service has none.

    Raises:
        CallRefused, CallUnreachable, ContractError: as `ServiceHook.start` has them; ContractError too when
            reports have to be signed and would not be: then the call is cancelled again.
    """
    keys = _signing_keys(record, request.signing)
    body, content_type = encode_arguments(request.data, request.headers)
    deadline_s = time.time() + request.timeout.total_seconds() if request.timeout else None
    call = CallRequest(
        correlation_id=record.correlid,
        body=body,
        content_type=content_type,
        deadline=datetime.fromtimestamp(deadline_s, UTC) if deadline_s else None,
        signing_keys=keys,
        traceparent=outgoing_traceparent(context),
    )
    started = _start_at_last(call, request)
    log.info("Call %s: accepted after %d ms", record.correlid, started.accepted_ms)
    metrics.count_started(context["ti"], accepted_ms=started.accepted_ms)
    begun = record.started(
        http_conn_id=request.http_conn_id,
        location=started.location,
        accepted_ms=started.accepted_ms,
        deadline_s=deadline_s,
        silence_s=request.heartbeat_timeout.total_seconds() if request.heartbeat_timeout else None,
        is_signed=bool(keys) and started.is_signed,
        traceparent=call.traceparent,
    )
    if request.signing == "required" and not begun.is_signed:
        abandon(begun)
        raise ContractError("signing", "required, and this service does not sign its reports")
    _check_answer(begun, started, request)
    return begun, started.status


def _start_at_last(call: CallRequest, request: StartRequest) -> StartedCall:
    hook, target, attempts = ServiceHook(request.http_conn_id), request.target, request.new_attempts()
    while True:
        try:
            return hook.start(call, method=request.method, endpoint=target, headers=request.headers)
        except CallError as error:
            pause_s = attempts.pause_s(error)
            if pause_s is None:
                raise
            log.info("Start of call %s: %s; again in %.1f s", call.correlation_id, error, pause_s)
            time.sleep(pause_s)


def _check_answer(record: CallRecord, started: StartedCall, request: StartRequest) -> None:
    try:
        if request.response_check is None or request.response_check(started.response):
            return
    except BaseException:  # the author's own code may raise whatever Airflow knows, a skip for one
        abandon(record)
        raise
    abandon(record)
    raise AnswerRejected(f"response_check does not accept the answer {started.response.status_code}")


def look(record: CallRecord) -> Completion | None:
    """Wait half a second for a very quick service; None: it works on, or cannot be asked.

    Only where the call has an inbox of its own: in a shared one its report would be left over.
    """
    if record.lasting or not record.location:
        return None
    for pause_s in _LOOKS_S:
        time.sleep(pause_s)
        try:
            status = ServiceHook(record.http_conn_id).status(record.location, timeout_s=_LOOK_TIMEOUT_S)
        except LongcallError:
            return None
        if status is None or status.correlation_id != record.correlid:
            return None
        if status.completion is not None:
            return status.completion
    return None


def take(record: CallRecord, completion: Completion, context: Context, access: ResultAccess) -> JsonValue:
    """Return the result of a call that the service itself says has ended, and delete its inbox.

    Raises:
        CallFailed, CallCancelled: what the service says.
        ResultNotFetched: the result lies elsewhere, and could not or may not be fetched.
    """
    drop_inbox(record)
    report = status_report(record.correlid, completion, location=record.location)
    return _conclude(record, report, context, access)


def completion_trigger(record: CallRecord, *, keep_inbox: bool = False) -> CompletionTrigger:
    """Return the trigger that waits for a call, to be deferred to at once."""
    return CompletionTrigger(
        call=record.to_json(), keep_inbox=keep_inbox, not_before_s=time.time() + _HOLD_BACK_S
    )


def finish(
    event: Mapping[str, JsonValue], record: CallRecord, context: Context, access: ResultAccess
) -> JsonValue:
    """Return the result that the trigger's event announces; one that lies elsewhere is fetched.

    Raises:
        CallFailed, CallCancelled: what the service reported.
        CallTimeout: the deadline has passed.
        ResultNotFetched: the result lies elsewhere, and could not or may not be fetched.
        WaitFailed: the inbox is gone or not to be read.
    """
    correlid, ti = str(event.get("correlid")), context["ti"]
    match event.get("status"):
        case EventStatus.COMPLETED:
            stored = event.get("completion") or ti.xcom_pull(
                task_ids=ti.task_id, key=COMPLETION_XCOM_KEY, map_indexes=ti.map_index
            )
            return _conclude(record, stored_report(stored, correlid=correlid), context, access)
        case EventStatus.TIMED_OUT:
            metrics.count_ended(ti, "timed_out", duration_s=record.duration_s)
            raise CallTimeout(f"no completion of call {correlid} within the timeout")
        case _:
            metrics.count_ended(ti, "lost", duration_s=record.duration_s)
            raise WaitFailed(str(event.get("error")), retryable=bool(event.get("retryable")))


def _conclude(record: CallRecord, report: Report, context: Context, access: ResultAccess) -> JsonValue:
    """Record in XCom, metrics and trace how a call ended; return its result or raise its error."""
    ended = record.ended(report)
    context["ti"].xcom_push(key=CALL_XCOM_KEY, value=ended.to_json())
    how = cast("metrics.Ended", ended.state)
    metrics.count_ended(context["ti"], how, duration_s=ended.duration_s)
    link_to_service(report.traceparent)
    if ended.state != "succeeded" and record.location:
        log.info("Call %s: its history and log are at %s", record.correlid, record.location)
    return result_for_xcom(report, access)


def abandon(record: CallRecord) -> None:
    """Cancel the work and delete the inbox of a call that nobody waits for; log what is left."""
    if record.location:
        metrics.count_cancel_request()
        try:
            if ServiceHook(record.http_conn_id).cancel(record.location):
                log.info("Call %s: the service was asked to cancel it", record.correlid)
        except LongcallError as error:
            log.warning("Call %s could not be cancelled: %s", record.correlid, error)
    drop_inbox(record)


def drop_inbox(record: CallRecord) -> None:
    """Delete the call's own inbox, or log that it is left to expire."""
    try:
        delete_inbox(record)
    except LongcallError as error:
        log.warning("Inbox %s is left to expire: %s", record.inbox, error)


def delete_inbox(record: CallRecord) -> None:
    """Delete the call's own inbox; one that is gone is deleted. A shared inbox stays.

    Raises:
        TransportError: it may still be there; it expires by itself.
    """
    if record.lasting:
        return
    with InboxAdmin(find_access(record.route)) as inboxes:
        inboxes.delete(record.inbox)
    log.info("Deleted inbox %s", record.inbox)


def _signing_keys(record: CallRecord, signing: str) -> tuple[SigningKey, ...]:
    if signing not in get_args(Signing):
        raise ContractError("signing", f"one of {', '.join(get_args(Signing))}, not {signing!r}")
    key = None if signing == "off" else signing_key(record.correlid)
    if key is None and signing == "required":
        raise ContractError("signing", "needs [core] fernet_key, the same on workers and triggerers")
    return () if key is None else (key,)


def _labels(context: Context) -> dict[str, str]:
    ti = context["ti"]
    labels = {"airflow_dag": sanitize_label(ti.dag_id), "airflow_task": sanitize_label(ti.task_id)}
    return {name: value for name, value in labels.items() if value}
