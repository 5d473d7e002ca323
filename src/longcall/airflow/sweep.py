"""`LongCallSweepOperator`: ends the calls that nobody waits for any more, and that nobody was there to end.

A task that a user ends while no triggerer runs, a worker that is lost in its last try, a DAG run that is
deleted: nobody is told. What is left are the inbox, whose labels name the task that waits, and where inboxes
are shared the service's own list of calls, which does so, too (ADR 9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from longcall._core.errors import LongcallError
from longcall.airflow.connections import find_access, find_longcall_connection, resolve_project
from longcall.airflow.ending import Ending, end_call
from longcall.airflow.errors import airflow_errors
from longcall.airflow.identity import deployment_name
from longcall.airflow.inbox_admin import InboxAdmin
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.service_hook import ServiceHook
from longcall.airflow.settings import InboxChoice, settle_route
from longcall.airflow.version_compat import (
    AirflowNotFoundException,
    BaseOperator,
    Context,
    read_xcom,
    run_exists,
    task_state,
)
from longcall.client.labels import created_time
from longcall.client.owner import CallOwner
from longcall.contract import ContractError, JsonValue, resource_id
from longcall.transport import FoundInbox

__all__ = ["LongCallSweepOperator", "is_left_over"]

_PATIENCE_S: Final = 5.0
_ENDED: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def is_left_over(correlid: str, *, state: str | None, has_run: bool, current: str | None) -> bool:
    """Tell whether nobody waits for a call.

    Args:
        correlid: the call.
        state: of the task that waited; None: it has none yet, or does not exist.
        has_run: its DAG run exists.
        current: the call that the task has now; None: it has not made one in this try.
    """
    if state in _ENDED or not has_run:
        return True
    return current is not None and current != correlid


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A call that a task of this deployment has made.

    Attributes:
        owner: that task, or the one that waits in its place.
        record: as much of the call as is known where it was found.
        inbox: of its own; None: it has none, or that is gone.
    """

    owner: CallOwner
    record: CallRecord
    inbox: FoundInbox | None = None


class LongCallSweepOperator(BaseOperator):
    """Cancel calls whose task has ended or waits for another call, and delete their inboxes.

    Only calls that this deployment's tasks have made are looked at: their inboxes' labels, and the lists of
    the services that are named here, say which task waits. Lasting inboxes are left alone. Schedule it in a
    DAG of its own. Returns what it found: `{"awaited": 3, "swept": ["lc-…"], "left": ["lc-…"],
    "not_asked": ["digits"]}`; the next run tries again what is left, and the services that did not answer.

    Args:
        longcall_conn_id: `longcall` connection, which may name the others here.
        gcp_conn_id: Google connection for Pub/Sub.
        impersonation_chain: service account to use Pub/Sub as, or the list of accounts that leads to it.
        project_id: project of the inboxes; default: the connection's.
        services: HTTP connections to services whose calls come in a shared inbox, for such calls have none
            of their own to be found by.
        older_than: younger calls are left alone.
        only_look: report, and change nothing.
    """

    template_fields: Sequence[str] = (
        "longcall_conn_id",
        "gcp_conn_id",
        "impersonation_chain",
        "project_id",
        "services",
    )

    def __init__(
        self,
        *,
        longcall_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
        services: Sequence[str] = (),
        older_than: timedelta = timedelta(minutes=5),
        only_look: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.longcall_conn_id = longcall_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.services = services
        self.older_than = older_than
        self.only_look = only_look

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Sweep once; what cannot be swept, or asked, is no failure of the rest."""
        swept: list[JsonValue] = []
        left: list[JsonValue] = []
        not_asked: list[JsonValue] = []
        awaited = 0
        with airflow_errors():
            connection = find_longcall_connection(self.longcall_conn_id)
            choice = InboxChoice(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
            route = settle_route(choice, connection)
            project = resolve_project(self.project_id or connection.project_id, route=route)
            with InboxAdmin(find_access(route)) as inboxes:
                found = {call.record.correlid: call for call in self._in_inboxes(inboxes.list(project))}
                for service in self.services:
                    try:
                        found = {call.record.correlid: call for call in self._at_service(service)} | found
                    except (LongcallError, AirflowNotFoundException) as error:
                        self.log.warning("Service %r could not be asked for its calls: %s", service, error)
                        not_asked.append(service)
                for correlid, call in found.items():
                    current = _record_of(call.owner)
                    if not _is_left(correlid, call.owner, current):
                        awaited += 1
                    elif self._end(inboxes, call, current):
                        swept.append(correlid)
                    else:
                        left.append(correlid)
        self.log.info("%d calls are awaited, %d swept, %d left", awaited, len(swept), len(left))
        return {"awaited": awaited, "swept": swept, "left": left, "not_asked": not_asked}

    def _in_inboxes(self, found: Sequence[FoundInbox]) -> Iterator[_Found]:
        for inbox in found:
            owner = CallOwner.from_labels(inbox.labels)
            if owner is not None and self._is_looked_at(owner, created_time(inbox.labels)):
                yield _Found(
                    owner=owner, record=_record(owner, resource_id(inbox.name), inbox=inbox.name), inbox=inbox
                )

    def _at_service(self, http_conn_id: str) -> Iterator[_Found]:
        """Raises as `ServiceHook.open_calls`."""
        for call in ServiceHook(http_conn_id).open_calls():
            owner = CallOwner.from_caller(call.caller, http_conn_id=http_conn_id)
            if owner is not None and self._is_looked_at(owner, call.accepted_time):
                yield _Found(owner=owner, record=_record(owner, call.correlid, location=call.location))

    def _is_looked_at(self, owner: CallOwner, since: datetime | None) -> bool:
        """Tell whether a call is old enough, and names a task of this deployment."""
        if owner.deployment != deployment_name() or not owner.deployment:
            return False
        return since is not None and since <= datetime.now(UTC) - self.older_than

    def _end(self, inboxes: InboxAdmin, call: _Found, current: CallRecord | None) -> bool:
        correlid, inbox = call.record.correlid, call.inbox
        self.log.info("Nobody waits for call %s of %s", correlid, call.owner)
        if self.only_look:
            return False
        record = current if current is not None and current.correlid == correlid else call.record
        ending = end_call(record, patience_s=_PATIENCE_S)
        self.log.info("Call %s: %s", correlid, ending.value)
        if inbox is None:
            return ending in {Ending.ASKED, Ending.OVER}
        if ending is Ending.UNREACHED:
            return False
        try:
            inboxes.delete(inbox.name, own_topic=inbox.own_topic)
        except LongcallError as error:
            self.log.warning("Inbox %s is left: %s", inbox.name, error)
            return False
        return True


def _is_left(correlid: str, owner: CallOwner, current: CallRecord | None) -> bool:
    state = task_state(
        dag_id=owner.dag_id, run_id=owner.run_id, task_id=owner.task_id, map_index=owner.map_index
    )
    return is_left_over(
        correlid,
        state=state,
        has_run=state is not None or run_exists(owner.dag_id, owner.run_id),
        current=None if current is None else current.correlid,
    )


def _record_of(owner: CallOwner) -> CallRecord | None:
    """Return what the task has kept of its call; None: nothing."""
    kept = read_xcom(
        CALL_XCOM_KEY,
        dag_id=owner.dag_id,
        run_id=owner.run_id,
        task_id=owner.task_id,
        map_index=owner.map_index,
    )
    try:
        return CallRecord.from_json(kept) if isinstance(kept, Mapping) else None
    except ContractError:
        return None


def _record(owner: CallOwner, correlid: str, *, inbox: str = "", location: str = "") -> CallRecord:
    """Return as much of a call as can be known without its task."""
    return CallRecord(
        correlid=correlid,
        inbox=inbox,
        lasting=not inbox,
        project_id="",
        gcp_conn_id="",
        http_conn_id=owner.http_conn_id,
        endpoint=owner.endpoint,
        location=location,
    )
