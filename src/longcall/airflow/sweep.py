"""`LongCallSweepOperator`: ends the calls that nobody waits for any more, and that nobody was there to end.

A task that a user ends while no triggerer runs, a worker that is lost in its last try, a DAG run that is
deleted: nobody is told. The inbox is what is left, and its labels name the task that waits (ADR 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from longcall._core.errors import LongcallError
from longcall.airflow.connections import find_access, find_longcall_connection, resolve_project
from longcall.airflow.ending import Ending, end_call
from longcall.airflow.errors import airflow_errors
from longcall.airflow.identity import deployment_name
from longcall.airflow.inbox_admin import InboxAdmin
from longcall.airflow.record import CALL_XCOM_KEY, CallRecord
from longcall.airflow.settings import InboxChoice, settle_route
from longcall.airflow.version_compat import BaseOperator, Context, read_xcom, run_exists, task_state
from longcall.client.labels import InboxOwner, created_time
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


class LongCallSweepOperator(BaseOperator):
    """Cancel calls whose task has ended or waits for another call, and delete their inboxes.

    Only inboxes that this deployment's tasks have made are looked at: their labels say which task waits.
    Lasting inboxes are left alone. Schedule it in a DAG of its own. Returns what it found:
    `{"awaited": 3, "swept": ["lc-…"], "left": ["lc-…"]}`; the next run tries again what is left.

    Args:
        longcall_conn_id: `longcall` connection, which may name the others here.
        gcp_conn_id: Google connection for Pub/Sub.
        impersonation_chain: service account to use Pub/Sub as, or the list of accounts that leads to it.
        project_id: project of the inboxes; default: the connection's.
        older_than: younger inboxes are left alone.
        only_look: report, and change nothing.
    """

    template_fields: Sequence[str] = ("longcall_conn_id", "gcp_conn_id", "impersonation_chain", "project_id")

    def __init__(
        self,
        *,
        longcall_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
        older_than: timedelta = timedelta(minutes=5),
        only_look: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.longcall_conn_id = longcall_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.older_than = older_than
        self.only_look = only_look

    def execute(self, context: Context) -> dict[str, JsonValue]:
        """Sweep once; an inbox that cannot be swept is no failure of the others."""
        swept: list[JsonValue] = []
        left: list[JsonValue] = []
        awaited = 0
        with airflow_errors():
            connection = find_longcall_connection(self.longcall_conn_id)
            choice = InboxChoice(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
            route = settle_route(choice, connection)
            project = resolve_project(self.project_id or connection.project_id, route=route)
            with InboxAdmin(find_access(route)) as inboxes:
                for inbox, owner in self._owned(inboxes.list(project)):
                    correlid = resource_id(inbox.name)
                    current = _record_of(owner)
                    if not _is_left(correlid, owner, current):
                        awaited += 1
                    elif self._end(inboxes, inbox, owner, current):
                        swept.append(correlid)
                    else:
                        left.append(correlid)
        self.log.info("%d calls are awaited, %d swept, %d left", awaited, len(swept), len(left))
        return {"awaited": awaited, "swept": swept, "left": left}

    def _owned(self, found: Sequence[FoundInbox]) -> list[tuple[FoundInbox, InboxOwner]]:
        """Choose the inboxes that are old enough and name a task of this deployment."""
        deployment, before = deployment_name(), datetime.now(UTC) - self.older_than
        chosen = []
        for inbox in found:
            owner, created = InboxOwner.from_labels(inbox.labels), created_time(inbox.labels)
            if owner is None or not deployment or owner.deployment != deployment:
                continue
            if created is not None and created <= before:
                chosen.append((inbox, owner))
        return chosen

    def _end(
        self, inboxes: InboxAdmin, inbox: FoundInbox, owner: InboxOwner, current: CallRecord | None
    ) -> bool:
        correlid = resource_id(inbox.name)
        self.log.info("Nobody waits for call %s of %s", correlid, owner)
        if self.only_look:
            return False
        record = current if current is not None and current.correlid == correlid else _record_by(owner, inbox)
        try:
            ending = end_call(record, patience_s=_PATIENCE_S)
            self.log.info("Call %s: %s", correlid, ending.value)
            if ending is Ending.UNREACHED:
                return False
            inboxes.delete(inbox.name, own_topic=inbox.own_topic)
        except LongcallError as error:
            self.log.warning("Inbox %s is left: %s", inbox.name, error)
            return False
        return True


def _is_left(correlid: str, owner: InboxOwner, current: CallRecord | None) -> bool:
    state = task_state(
        dag_id=owner.dag_id, run_id=owner.run_id, task_id=owner.task_id, map_index=owner.map_index
    )
    return is_left_over(
        correlid,
        state=state,
        has_run=state is not None or run_exists(owner.dag_id, owner.run_id),
        current=None if current is None else current.correlid,
    )


def _record_of(owner: InboxOwner) -> CallRecord | None:
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


def _record_by(owner: InboxOwner, inbox: FoundInbox) -> CallRecord:
    """Return as much of a call as the labels of its inbox say."""
    return CallRecord(
        correlid=resource_id(inbox.name),
        inbox=inbox.name,
        lasting=False,
        project_id=inbox.name.split("/")[1],
        gcp_conn_id="",
        http_conn_id=owner.http_conn_id,
        endpoint=owner.endpoint,
    )
