"""A completion between its arrival in the triggerer and its use in the worker.

The trigger's event is logged in clear, so it never holds a result. What arrived
goes to an XCom of the waiting task, as it was on the wire; once it is there it
is durable, and only then is the report acknowledged or its inbox deleted. A
triggerer that is killed anywhere in between finds the XCom, or the report, again.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from longcall.client import ResultAccess, completion_result, fetch_result
from longcall.contract import (
    Completion,
    ContractError,
    JsonValue,
    Message,
    Report,
    Succeeded,
    decode_report,
)

__all__ = [
    "COMPLETION_XCOM_KEY",
    "completion_key",
    "message_from_json",
    "message_to_json",
    "result_for_xcom",
    "status_report",
    "stored_report",
]

COMPLETION_XCOM_KEY = "longcall_completion"


def completion_key(correlid: str) -> str:
    """Return the key of the XCom that holds a call's completion.

    One for each call: that of a call which was superseded must not take the place of its successor's.
    """
    return f"{COMPLETION_XCOM_KEY}.{correlid}"


def message_to_json(message: Message) -> dict[str, JsonValue]:
    """Return a message as JSON: `{"attributes": {…}, "data_base64": "…", "message_id": "…"}`."""
    return {
        "attributes": dict(message.attributes),
        "data_base64": base64.b64encode(message.data).decode(),
        "message_id": message.message_id,
    }


def message_from_json(value: object) -> Message:
    """Read what `message_to_json` wrote.

    Raises:
        ContractError: `value` is something else.
    """
    try:
        assert isinstance(value, Mapping)  # one error for every way to be wrong
        return Message(
            data=base64.b64decode(value["data_base64"], validate=True),
            attributes=dict(value["attributes"]),
            message_id=str(value.get("message_id", "")),
        )
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise ContractError(COMPLETION_XCOM_KEY, f"not a stored completion: {error!r}") from error


def status_report(correlid: str, completion: Completion, *, location: str) -> Report:
    """Return what the service's status resource says as the report that it stands for."""
    return Report(correlation_id=correlid, body=completion, id=f"{correlid}.status", source=location)


def stored_report(value: object, *, correlid: str) -> Report:
    """Return the completion that is stored.

    Raises:
        ContractError: what is stored is not the completion of `correlid`.
    """
    report = decode_report(message_from_json(value))
    if report is None or report.correlation_id != correlid:
        raise ContractError(COMPLETION_XCOM_KEY, f"holds no completion of the call {correlid}")
    return report


def result_for_xcom(report: Report, access: ResultAccess) -> JsonValue:
    """Return the result that a completion carries or refers to, as downstream tasks will see it.

    JSON stays JSON and text is text. Bytes that are neither become `{"data_base64": "…"}`.

    Raises:
        CallFailed: the service reported a failure.
        CallCancelled: the call was cancelled.
        ResultNotFetched: the result lies elsewhere, and `access` does not allow it to be fetched, or it is
            not there as the service said.
    """
    if isinstance(report.body, Succeeded):
        report = replace(report, body=fetch_result(report.body, access))
    result = completion_result(report)
    if isinstance(result, bytes):
        return {"data_base64": base64.b64encode(result).decode()}
    return result
