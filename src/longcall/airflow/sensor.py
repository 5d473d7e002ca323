"""`LongCallSensor`: waits for a call that something else started, by looking at its status resource."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from longcall._core.errors import LongcallError
from longcall.airflow.arguments import ResultArguments
from longcall.airflow.completion import result_for_xcom, status_report
from longcall.airflow.connections import find_longcall_connection
from longcall.airflow.errors import airflow_errors
from longcall.airflow.settings import settle_service
from longcall.airflow.status_trigger import StatusTrigger, ended_status
from longcall.airflow.steps import HOLD_BACK_S
from longcall.airflow.version_compat import (
    AirflowFailException,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
    PokeReturnValue,
    XComArg,
)
from longcall.contract import CallStatus, ContractError, JsonValue

__all__ = ["LongCallSensor"]


class LongCallSensor(ResultArguments, BaseSensorOperator):
    """Wait until a call has ended, and return its result.

    Looks at the status resource of the call and at nothing else: it needs no inbox, takes nobody's report
    away, and ends nothing when it is killed or runs out of time. A bare service has no status resource:
    wait for its calls with `WaitForCompletionOperator`, in the inbox.

    Fails, and does so at once, when the call has failed or was cancelled, or its service does not know it.
    A service that does not answer is asked again. `poke_interval`, `timeout`, `soft_fail` and the others are
    those of every sensor.

    Args:
        call: the call, as the XCom `longcall_call` of its task holds it, as JSON or as text.
        location: URL of the status resource, where there is no such XCom; or its path.
        http_conn_id: HTTP connection to the service; default: the one in `call`, then that of the `longcall`
            connection, then `http_default`.
        longcall_conn_id: `longcall` connection.
        deferrable: look from the triggerer. False: from a worker, in `mode` `poke` or `reschedule`. This and
            the arguments for the result are those of `ResultArguments`.
    """

    template_fields: Sequence[str] = (
        *ResultArguments.template_fields,
        "call",
        "location",
        "http_conn_id",
        "longcall_conn_id",
    )

    def __init__(
        self,
        *,
        call: XComArg | Mapping[str, JsonValue] | str | None = None,
        location: str | None = None,
        http_conn_id: str | None = None,
        longcall_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.call = call
        self.location = location
        self.http_conn_id = http_conn_id
        self.longcall_conn_id = longcall_conn_id
        if self.deferrable and (self.mode != "poke" or self.exponential_backoff or self.silent_fail):
            raise ContractError(
                "deferrable", "mode, exponential_backoff and silent_fail need deferrable=False"
            )

    def execute(self, context: Context) -> Any:
        """Return the result of a call that has ended; else defer, or look again and again."""
        if not self.deferrable:
            return super().execute(context)
        try:
            looked = self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        return looked.xcom_value if looked else self._defer()

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        with airflow_errors():
            status = ended_status(*self._target())
        if status is None:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._result(status, context))

    def execute_complete(self, context: Context, event: Mapping[str, JsonValue]) -> JsonValue:
        """Look for the last time, in the worker: the trigger's event says nothing of the result."""
        if event.get("error"):
            raise AirflowFailException(str(event["error"]))
        looked = self.poke(context)
        if not looked:
            raise AirflowFailException("the call had ended, and its service does not say so any more")
        return looked.xcom_value

    def _defer(self) -> NoReturn:
        http_conn_id, location = self._target()
        self.defer(
            trigger=StatusTrigger(
                http_conn_id=http_conn_id,
                location=location,
                poke_interval_s=self.poke_interval,
                not_before_s=time.time() + HOLD_BACK_S,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(self.timeout, HOLD_BACK_S)),
        )

    def _result(self, status: CallStatus, context: Context) -> JsonValue:
        assert status.completion is not None  # it has ended
        _, location = self._target()
        report = status_report(status.correlation_id, status.completion, location=location)
        try:
            result = result_for_xcom(report, self._result_access())
        except LongcallError as error:
            raise AirflowFailException(str(error)) from error  # the call has ended: it stays as it is
        return self._handled(result, context)

    def _target(self) -> tuple[str, str]:
        """Return connection and status resource.

        Raises:
            ContractError: none is given, or the call has none.
        """
        call = _record(self.call)
        location = self.location or str(call.get("location") or "")
        if not location:
            raise ContractError(
                "call" if self.call else "location",
                "names no status resource: wait in the call's inbox, with WaitForCompletionOperator",
            )
        service = settle_service(
            http_conn_id=self.http_conn_id or str(call.get("http_conn_id") or ""),
            signing=None,
            connection=find_longcall_connection(self.longcall_conn_id),
        )
        return service.http_conn_id, location


def _record(call: object) -> Mapping[str, JsonValue]:
    if call is None:
        return {}
    try:
        read = json.loads(call) if isinstance(call, str) else call
    except ValueError:
        read = None
    if not isinstance(read, Mapping):
        raise ContractError("call", f"expected the XCom longcall_call as JSON, not {call!r:.80}")
    return read
