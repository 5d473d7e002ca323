"""The wire contract: ids, requests, reports and their codec. Pure: no I/O, no clock, no framework.

Version 1. A service in any language meets level 0 with an HTTP handler and one
publish; what level 1 adds is optional on both sides. See `docs/reference/contract.md`.
"""

from longcall.contract.codec import CORRELATION_ATTRIBUTE, completion_filter, decode_report, encode_report
from longcall.contract.errors import ContractError, MalformedReport, MalformedRequest
from longcall.contract.ids import (
    MAX_ID_LENGTH,
    check_correlation_id,
    derived_token,
    new_correlation_id,
    new_inbox_correlation_id,
)
from longcall.contract.json import JSON_TYPE, JsonValue, decode_json, encode_json
from longcall.contract.log import MAX_LINE_LENGTH, MAX_LOG_LINES
from longcall.contract.message import MAX_MESSAGE_BYTES, Message
from longcall.contract.names import (
    correlation_filter,
    inbox_filter,
    quote_filter_string,
    resource_id,
    resource_path,
    sanitize_label,
)
from longcall.contract.problem import PROBLEM_TYPE, Problem
from longcall.contract.reference import DataReference, digest_of
from longcall.contract.report import (
    Accepted,
    Cancelled,
    Completion,
    Failed,
    Heartbeat,
    Log,
    LogLevel,
    LogLine,
    Progress,
    Report,
    ReportBody,
    Succeeded,
    is_completion,
)
from longcall.contract.request import (
    MAX_CALLER,
    CallRequest,
    decode_request,
    request_headers,
    url_with_correlation_id,
)
from longcall.contract.signing import MAX_SIGNING_KEYS, BadSignature, SigningKey, sign, verify
from longcall.contract.status import CallState, CallStatus

__all__ = [
    "CORRELATION_ATTRIBUTE",
    "JSON_TYPE",
    "MAX_CALLER",
    "MAX_ID_LENGTH",
    "MAX_LINE_LENGTH",
    "MAX_LOG_LINES",
    "MAX_MESSAGE_BYTES",
    "MAX_SIGNING_KEYS",
    "PROBLEM_TYPE",
    "Accepted",
    "BadSignature",
    "CallRequest",
    "CallState",
    "CallStatus",
    "Cancelled",
    "Completion",
    "ContractError",
    "DataReference",
    "Failed",
    "Heartbeat",
    "JsonValue",
    "Log",
    "LogLevel",
    "LogLine",
    "MalformedReport",
    "MalformedRequest",
    "Message",
    "Problem",
    "Progress",
    "Report",
    "ReportBody",
    "SigningKey",
    "Succeeded",
    "check_correlation_id",
    "completion_filter",
    "correlation_filter",
    "decode_json",
    "decode_report",
    "decode_request",
    "derived_token",
    "digest_of",
    "encode_json",
    "encode_report",
    "inbox_filter",
    "is_completion",
    "new_correlation_id",
    "new_inbox_correlation_id",
    "quote_filter_string",
    "request_headers",
    "resource_id",
    "resource_path",
    "sanitize_label",
    "sign",
    "url_with_correlation_id",
    "verify",
]
