"""The start request: one quick POST that carries the correlation id and the arguments.

`POST {endpoint}?correlid={id}`, with the same id as `Idempotency-Key`, so that a
repeat is answered and never started twice. `Prefer: respond-async` is RFC 7240's;
`traceparent` W3C Trace Context's; what no standard names begins with `Longcall-`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote_plus, urlencode, urlsplit, urlunsplit

from longcall.contract.errors import ContractError, MalformedRequest
from longcall.contract.ids import check_correlation_id
from longcall.contract.instants import decode_instant, encode_instant
from longcall.contract.signing import SigningKey, keys_from_header, keys_to_header

__all__ = ["MAX_CALLER", "CallRequest", "decode_request", "request_headers", "url_with_correlation_id"]

_PARAMETER: Final = "correlid"
MAX_CALLER: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """What a caller asks of a service.

    Attributes:
        correlation_id: the call; the same id again is the same call.
        body: the arguments as they stand on the wire.
        content_type: the body's media type; empty when there is no body.
        deadline: after which nobody waits for the answer, aware.
        reply_topic: where to publish; empty: the service's own topic.
        traceparent: W3C Trace Context of the caller.
        signing_keys: to sign the reports with; none: they are not signed.
        caller: who waits, in the caller's own words, which the service shows and does not read: printable
            ASCII, 1000 characters at most; empty: not said.
    """

    correlation_id: str
    body: bytes = b""
    content_type: str = ""
    deadline: datetime | None = None
    reply_topic: str = ""
    traceparent: str = ""
    signing_keys: tuple[SigningKey, ...] = ()
    caller: str = ""

    def digest(self) -> str:
        """Return what two requests with one id must share to be the same call."""
        content = hashlib.sha256(self.content_type.encode(errors="surrogatepass") + b"\0" + self.body)
        return content.hexdigest()


def request_headers(request: CallRequest) -> dict[str, str]:
    """Return the headers of the POST, without those of the HTTP client's own.

    Raises:
        ContractError: a value cannot stand in a header.
    """
    headers = {
        "Idempotency-Key": check_correlation_id(request.correlation_id),
        "Prefer": "respond-async",
        "Content-Type": request.content_type,
        "Longcall-Deadline": encode_instant(request.deadline, field="deadline") if request.deadline else "",
        "Longcall-Caller": request.caller,
        "Longcall-Reply-Topic": request.reply_topic,
        "Longcall-Signing-Key": keys_to_header(request.signing_keys),
        "traceparent": request.traceparent,
    }
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ContractError(name, "a header holds printable ASCII, and no line break")
    return {name: value for name, value in headers.items() if value}


def url_with_correlation_id(url: str, correlation_id: str) -> str:
    """Return `url` with `correlid={id}` added to its query; one that is there already is replaced.

    The other parameters stay as they are, to the byte: a signed URL stays signed.
    """
    parts = urlsplit(url)
    kept = [
        pair for pair in parts.query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != _PARAMETER
    ]
    kept.append(urlencode({_PARAMETER: check_correlation_id(correlation_id)}))
    return urlunsplit(parts._replace(query="&".join(kept)))


def decode_request(query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> CallRequest:
    """Read the POST that starts a call.

    Args:
        query: the query parameters, decoded.
        headers: by lower-case name.
        body: the whole body.

    Raises:
        MalformedRequest: no correlation id, two that differ, or a header that cannot be read.
    """
    key = headers.get("idempotency-key", "").strip(" \t").strip('"')
    named = query.get(_PARAMETER, "") or key
    try:
        if not named:
            raise ContractError("correlid", "missing; call POST …?correlid=ID")
        if key and key != named:
            raise ContractError("Idempotency-Key", "differs from correlid; they name the same call")
        deadline = headers.get("longcall-deadline")
        return CallRequest(
            correlation_id=check_correlation_id(named),
            body=body,
            content_type=headers.get("content-type", "") if body else "",
            deadline=decode_instant(deadline, field="Longcall-Deadline") if deadline else None,
            reply_topic=headers.get("longcall-reply-topic", ""),
            traceparent=headers.get("traceparent", ""),
            signing_keys=keys_from_header(headers.get("longcall-signing-key", "")),
            caller=_check_caller(headers.get("longcall-caller", "")),
        )
    except ContractError as error:
        raise MalformedRequest(error.field, error.reason) from error


def _check_caller(text: str) -> str:
    if len(text) > MAX_CALLER or not (text.isascii() and text.isprintable()):
        raise ContractError("Longcall-Caller", f"{MAX_CALLER} characters of printable ASCII at most")
    return text
