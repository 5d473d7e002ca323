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
from typing import cast

from longcall._core.errors import LongcallError
from longcall.airflow import metrics
from longcall.airflow.arguments import StartRequest
from longcall.airflow.cleanup import abandon, drop_inbox
from longcall.airflow.completion import completion_key, result_for_xcom, status_report, stored_report
from longcall.airflow.connections import find_access, find_longcall_connection, resolve_project
from longcall.airflow.errors import AnswerRejected, WaitFailed
from longcall.airflow.identity import TaskTry, deployment_name, signing_keys
from longcall.airflow.inbox_admin import InboxAdmin
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord, ServicePath
from longcall.airflow.service_hook import ServiceHook, StartedCall, encode_arguments
from longcall.airflow.settings import InboxChoice, settle_inbox
from longcall.airflow.tracing import link_to_service, outgoing_traceparent
from longcall.airflow.trigger import CompletionTrigger, EventStatus
from longcall.airflow.version_compat import (
    LATER_TRIES_REMEMBER,
    Context,
    load_across_tries,
    store_across_tries,
)
from longcall.client import CallError, CallTimeout, ResultAccess
from longcall.client.labels import created_label
from longcall.client.owner import CallOwner
from longcall.contract import (
    CallRequest,
    Completion,
    ContractError,
    JsonValue,
    Report,
    SigningKey,
    sanitize_label,
)

__all__ = [
    "HOLD_BACK_S",
    "check_start",
    "completion_trigger",
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
_STORE_LOOKS_S = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Pauses before each look for a completion; it is there at the first unless storing it has failed."""
HOLD_BACK_S = 10.0
"""From the deferral to the earliest resumption: longer than a loop of a busy scheduler. See ADR 3."""


def forget_cleared(context: Context) -> None:
    """Undo the call of an earlier try whose task was cleared since then, in case no trigger could (3.3+)."""
    kept = load_across_tries(context, CALL_XCOM_KEY)
    this = TaskTry.of(context)
    if not LATER_TRIES_REMEMBER and 1 < this.first == this.number:
        log.info(
            "The task was cleared: what it waited for was cancelled, if a triggerer ran at that time. "
            "If none did, it goes on: before Airflow 3.3 a later try knows nothing of it"
        )
    if not isinstance(kept, Mapping) or kept.get("first_try") == this.first:
        return
    record = CallRecord.from_json(kept.get("call"))
    log.info("The task was cleared: cancelling its call %s, unless it has ended", record.correlid)
    abandon(record)


def prepare(
    choice: InboxChoice,
    context: Context,
    *,
    service: ServicePath,
    number: int = 1,
    waits: str | None = None,
) -> CallRecord:
    """Make the id and create the inbox. What is published from now on will be in it.

    The same try again, or a later one that was not cleared, makes the same id.

    Args:
        choice: where the answer shall arrive.
        context: the task's.
        service: where the call will be started.
        number: which call of the task since its last clear.
        waits: id of the task that will wait, in the same run; None: this one. Empty: not known, and then no
            sweep touches the call.

    Raises:
        ContractError, TransportError: nothing is left behind.
    """
    settings = settle_inbox(choice, find_longcall_connection(choice.longcall_conn_id))
    route = settings.route
    project = resolve_project(settings.project_id, route=route)
    waits = context["ti"].task_id if waits is None else waits
    labels = _labels(context, service, waits)
    address = settings.address(project=project, labels=labels, token=TaskTry.of(context).token(number))
    with InboxAdmin(find_access(route)) as inboxes:
        inboxes.create(address)
    log.info("Call %s: inbox %s is ready", address.correlation_id, address.inbox.name)
    return CallRecord(
        correlid=address.correlation_id,
        inbox=address.inbox.name,
        lasting=address.lasting,
        project_id=project,
        gcp_conn_id=route.gcp_conn_id,
        impersonation_chain=route.impersonation_chain,
        pubsub_endpoint=route.endpoint,
        longcall_conn_id=choice.longcall_conn_id or "",
        number=number,
        own_topic=address.topic,
        waits=waits,
    ).aimed(service)


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
        context["ti"].xcom_push(key=completion_key(record.correlid), value={})


def start(record: CallRecord, request: StartRequest, context: Context) -> tuple[CallRecord, StartedCall]:
    """Send the quick request that starts the work of an aimed call; the same again is the same call.

    The answer's status tells a call that an earlier try has started from a new one. What the answer must
    be like is checked by `check_start`.

    Raises:
        CallRefused, CallUnreachable, ContractError: as `ServiceHook.start` has them.
    """
    keys = _signing_keys(record, request)
    body, content_type = encode_arguments(request.data, request.headers)
    deadline_s = time.time() + request.timeout.total_seconds() if request.timeout else None
    owner = _owner(context, request.service, record.waits)
    call = CallRequest(
        correlation_id=record.correlid,
        body=body,
        content_type=content_type,
        deadline=datetime.fromtimestamp(deadline_s, UTC) if deadline_s else None,
        reply_topic=record.own_topic,
        signing_keys=keys,
        traceparent=outgoing_traceparent(context),
        caller="" if owner is None else owner.to_caller(),
    )
    started = _start_at_last(call, request)
    log.info("Call %s: accepted after %d ms", record.correlid, started.accepted_ms)
    metrics.count_started(context["ti"], accepted_ms=started.accepted_ms)
    begun = record.started(
        location=started.location,
        accepted_ms=started.accepted_ms,
        deadline_s=deadline_s,
        silence_s=request.heartbeat_timeout.total_seconds() if request.heartbeat_timeout else None,
        is_signed=bool(keys) and started.is_signed,
        traceparent=call.traceparent,
    )
    return begun, started


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


def check_start(record: CallRecord, started: StartedCall, request: StartRequest) -> None:
    """Return if the answer to the start is as the DAG's author wants it; the call works already.

    Raises:
        ContractError: its reports have to be signed, and would not be.
        AnswerRejected: the author's own check does not accept it. That may raise anything itself.
    """
    if request.signing == "required" and not record.is_signed:
        raise ContractError("signing", "required, and this service does not sign its reports")
    if request.response_check is not None and not request.response_check(started.response):
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
        call=record.to_json(), keep_inbox=keep_inbox, not_before_s=time.time() + HOLD_BACK_S
    )


def finish(
    event: Mapping[str, JsonValue],
    record: CallRecord,
    context: Context,
    access: ResultAccess,
    *,
    keep_inbox: bool = False,
) -> JsonValue:
    """Return the result that the trigger's event announces; one that lies elsewhere is fetched.

    Args:
        event: the trigger's.
        record: the call.
        context: the task's.
        access: where a result may lie that is fetched.
        keep_inbox: leave it to another task. Otherwise it is deleted now, if the trigger had not done so when
            its event left.

    Raises:
        CallFailed, CallCancelled: what the service reported.
        CallTimeout: the deadline has passed.
        ResultNotFetched: the result lies elsewhere, and could not or may not be fetched.
        WaitFailed: the inbox is gone or not to be read; or the event is another trigger's.
    """
    correlid, ti = record.correlid, context["ti"]
    if event.get("correlid") != correlid:
        raise WaitFailed(
            f"Airflow has resumed the task with an event that is not of its call {correlid}: on SQLite it "
            "gives the ids of triggers twice",
            retryable=True,
        )
    match event.get("status"):
        case EventStatus.COMPLETED:
            report = stored_report(
                event.get("completion") or _load_completion(context, correlid), correlid=correlid
            )
            if not (keep_inbox or event.get("inbox_deleted")):
                drop_inbox(record)
            return _conclude(record, report, context, access)
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


def _load_completion(context: Context, correlid: str) -> JsonValue:
    """Return what the trigger has stored.

    Raises:
        WaitFailed: it could not store it; it is still where it came from.
    """
    ti = context["ti"]
    for pause_s in _STORE_LOOKS_S:
        time.sleep(pause_s)
        stored: JsonValue = ti.xcom_pull(
            task_ids=ti.task_id, key=completion_key(correlid), map_indexes=ti.map_index
        )
        if stored:
            return stored
    raise WaitFailed("the triggerer has not stored the completion: see its log", retryable=True)


def _signing_keys(record: CallRecord, request: StartRequest) -> tuple[SigningKey, ...]:
    keys = () if request.signing == "off" else signing_keys(record.correlid, secret=request.secret)
    if not keys and request.signing == "required":
        raise ContractError(
            "signing",
            "needs a secret: [core] fernet_key, the same on workers and triggerers, or the password of "
            "the longcall connection",
        )
    return keys


def _labels(context: Context, service: ServicePath, waits: str) -> dict[str, str]:
    """Return what a person sees of the call among an inbox's labels, and what a sweep reads."""
    ti = context["ti"]
    seen = {"airflow_dag": sanitize_label(ti.dag_id), "airflow_task": sanitize_label(waits or ti.task_id)}
    labels = {name: value for name, value in seen.items() if value} | created_label(datetime.now(UTC))
    owner = _owner(context, service, waits)
    return labels if owner is None else labels | owner.to_labels()


def _owner(context: Context, service: ServicePath, waits: str) -> CallOwner | None:
    """Return the task that a sweep goes by; None: it is not known, or its deployment cannot be told."""
    ti, deployment = context["ti"], deployment_name()
    if not (waits and deployment):
        return None
    return CallOwner(
        deployment=deployment,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=waits,
        map_index=-1 if ti.map_index is None else ti.map_index,
        http_conn_id=service.http_conn_id,
        endpoint=service.endpoint,
    )
