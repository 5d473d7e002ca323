"""The page as HTML, by Jinja2 with everything escaped. Nothing of a call is ever markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from longcall import __version__
from longcall.contract import CallState, CallStatus, Failed, Succeeded
from longcall.contract.instants import encode_instant
from longcall.service.listing import Page
from longcall.service.page.wording import ago, duration, percent, preview, progress_text
from longcall.service.store import CallSummary, StoredCall, StoredLine

__all__ = ["Renderer"]

_STATES: Final = {
    CallState.ACCEPTED: "waiting",
    CallState.RUNNING: "running",
    CallState.SUCCEEDED: "succeeded",
    CallState.FAILED: "failed",
    CallState.CANCELLED: "cancelled",
}


class Renderer:
    """Makes the pages of one request.

    Args:
        service: its name.
        root: path of the list, without the last slash.
        now: the present.
    """

    def __init__(self, *, service: str, root: str, now: datetime) -> None:
        self._common: dict[str, Any] = {
            "service": service,
            "root": root,
            "version": __version__,
            "word": _STATES.__getitem__,
            "ago": lambda instant: ago(instant, now=now),
            "iso": lambda instant: encode_instant(instant, field="time"),
            "href": lambda name: f"{root}/{quote(name, safe='')}",
            "percent": percent,
            "progress_text": progress_text,
            "took": lambda call: _took(call, now),
        }

    def calls(
        self,
        found: Sequence[CallSummary],
        page: Page,
        *,
        counts: Mapping[CallState, int],
        handlers: Sequence[str],
    ) -> str:
        """Return the list.

        Args:
            found: the calls of the page, the newest first.
            page: what was asked for.
            counts: of all calls, by state.
            handlers: the service's, by path.
        """
        wanted = page.wanted

        def query(**changes: str | None) -> str:
            given = {"state": wanted.state, "handler": wanted.handler, **changes}
            said = {name: str(value) for name, value in given.items() if value}
            return f"?{urlencode(said)}" if said else "./"

        older = str(found[-1].number) if len(found) == page.size else None
        return self._render(
            "calls.html",
            calls=found,
            wanted=wanted,
            states=[(state, _STATES[state], counts.get(state, 0)) for state in CallState],
            total=sum(counts.values()),
            handlers=handlers,
            query=query,
            older=older and query(page_token=older),
            is_first=page.before is None,
        )

    def call(self, call: StoredCall, lines: Sequence[StoredLine]) -> str:
        """Return the page of one call, with the lines of its log."""
        completion = call.status.completion
        return self._render(
            "call.html",
            call=call.status,
            handler=call.handler,
            caller=call.caller,
            lines=lines,
            problem=completion.problem if isinstance(completion, Failed) else None,
            result=preview(completion) if isinstance(completion, Succeeded) else None,
        )

    def cancellation(self, call: StoredCall) -> str:
        """Return the page that asks whether to cancel a call."""
        return self._render("cancel.html", call=call.status, handler=call.handler)

    def failure(self, title: str, detail: str) -> str:
        """Return a page that says what went wrong."""
        return self._render("failure.html", title=title, detail=detail)

    def _render(self, template: str, **values: Any) -> str:
        return _environment().get_template(template).render(self._common | values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("longcall.service.page"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _took(call: CallSummary | CallStatus, now: datetime) -> str:
    """Return how long the last attempt has taken; empty before the first."""
    if call.started_time is None:
        return ""
    return duration(((call.ended_time or now) - call.started_time).total_seconds())
