"""The list of calls, and the log of one, on the wire. Pure.

`GET /calls?state=…&handler=…&since=…&page_size=…&page_token=…`: paging as Google's
APIs do it (AIP-158): `next_page_token` of one answer is the `page_token` of the next
request; without one the list has ended. `GET /calls/{id}/log?after=N`: what came
after the line of that number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from longcall.contract import CallState, ContractError, JsonValue
from longcall.contract.instants import decode_instant, encode_instant
from longcall.contract.log import line_to_wire
from longcall.service.store import CallFilter, CallSummary, StoredLine

__all__ = ["Page", "decode_after", "decode_page", "encode_list", "encode_log"]

_PARAMETERS: Final = ("state", "handler", "since", "page_size", "page_token")
_PAGE_SIZE: Final = 100
_MAX_PAGE_SIZE: Final = 1000
_MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of the list is asked for.

    Attributes:
        wanted: which calls.
        before: number of the last call of the page before; None: the first page.
        size: calls of this page at most.
    """

    wanted: CallFilter
    before: int | None
    size: int


def decode_page(query: Mapping[str, str]) -> Page:
    """Read the query.

    Raises:
        ContractError: a parameter is unknown, or not as it has to be.
    """
    for name in query:
        if name not in _PARAMETERS:
            raise ContractError(name[:40], f"no such parameter; there are {', '.join(_PARAMETERS)}")
    state, since, token = query.get("state"), query.get("since"), query.get("page_token")
    try:
        wanted = CallFilter(
            state=CallState(state) if state else None,
            handler=query.get("handler") or None,
            accepted_since=decode_instant(since, field="since") if since else None,
        )
    except ValueError as error:
        raise ContractError("state", f"one of {', '.join(CallState)}") from error
    size = _number(query.get("page_size") or str(_PAGE_SIZE), field="page_size")
    return Page(
        wanted=wanted,
        before=_number(token, field="page_token") if token else None,
        size=min(max(1, size), _MAX_PAGE_SIZE),
    )


def encode_list(found: Sequence[CallSummary], page: Page, *, root: str) -> dict[str, JsonValue]:
    """Return the answer.

    Args:
        found: the calls of the page.
        page: what was asked for.
        root: the path of the list; each call's is below it.
    """
    wire: dict[str, JsonValue] = {"calls": [_summary(call, root) for call in found]}
    if len(found) == page.size:
        wire["next_page_token"] = str(found[-1].number)
    return wire


def decode_after(query: Mapping[str, str]) -> int:
    """Read the number of the last line seen; 0: none.

    Raises:
        ContractError: a parameter is unknown, or not as it has to be.
    """
    for name in query:
        if name != "after":
            raise ContractError(name[:40], "no such parameter; there is after")
    return _number(query.get("after") or "0", field="after")


def encode_log(correlation_id: str, lines: Sequence[StoredLine]) -> dict[str, JsonValue]:
    """Return a call's log."""
    wire: list[JsonValue] = [
        {"number": stored.number, "attempt": stored.attempt, **line_to_wire(stored.line)} for stored in lines
    ]
    return {"correlid": correlation_id, "lines": wire}


def _summary(call: CallSummary, root: str) -> dict[str, JsonValue]:
    wire: dict[str, JsonValue] = {
        "correlid": call.correlation_id,
        "location": f"{root}/{quote(call.correlation_id, safe='')}",
        "handler": call.handler,
        "state": str(call.state),
        "attempt": call.attempt,
        "accepted_time": encode_instant(call.accepted_time, field="accepted_time"),
    }
    times: dict[str, datetime | None] = {"started_time": call.started_time, "ended_time": call.ended_time}
    wire |= {name: encode_instant(time, field=name) for name, time in times.items() if time is not None}
    said = {"caller": call.caller, "title": call.title}
    wire |= {name: text for name, text in said.items() if text}
    return wire


def _number(text: str, *, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ContractError(field, f"{text[:40]!r} is no whole number")
    return int(text)
