"""A service, asked about calls of which only their ids are known: `GET {endpoint}?correlid={id}`."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from longcall.client import CallError, read_start_answer, refusal
from longcall.client._http import HttpAnswer, is_same_origin, send
from longcall.contract import CallStatus, ContractError, decode_json, url_with_correlation_id

__all__ = ["ServiceAsked"]

_TIMEOUT_S = 10.0
_UNKNOWN = frozenset({404, 405, 410})


class ServiceAsked:
    """A connection to one endpoint of a service; the caller closes it."""

    def __init__(self, url: str, *, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._http = httpx2.AsyncClient(timeout=_TIMEOUT_S)

    async def aclose(self) -> None:
        """Close it."""
        await self._http.aclose()

    async def status(self, correlation_id: str) -> CallStatus | None:
        """Return how a call stands; None: it was not started here, or the service does not tell.

        Raises:
            CallUnreachable: no answer.
            CallRefused: the login is not good, or the service has failed.
        """
        answer = await self._find(correlation_id)
        if answer.status in _UNKNOWN:
            return None
        if answer.status != 200:
            raise refusal(status=answer.status, body=answer.body, url=answer.url)
        try:
            status = CallStatus.from_wire(decode_json(answer.body, field="status"))
        except ContractError:
            return None
        return status if status.correlation_id == correlation_id else None

    async def cancel(self, correlation_id: str) -> None:
        """Ask the service to stop the work of a call whose status it has told.

        Raises:
            CallError: it was not asked, or will not.
        """
        found = await self._find(correlation_id)
        answer = read_start_answer(status=found.status, headers=found.headers, body=found.body, url=found.url)
        if answer.location is None or not is_same_origin(answer.location, self._url):
            raise CallError(f"the service names no status resource of its own for {correlation_id}")
        done = await send(self._http, "DELETE", answer.location, headers=self._headers)
        if done.status >= 300 and done.status not in _UNKNOWN:
            raise refusal(status=done.status, body=done.body, url=done.url)

    async def _find(self, correlation_id: str) -> HttpAnswer:
        url = url_with_correlation_id(self._url, correlation_id)
        return await send(self._http, "GET", url, headers=self._headers)
