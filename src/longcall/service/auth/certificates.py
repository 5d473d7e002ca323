"""Google's certificates, kept for as long as HTTP lets them be kept (RFC 9111)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from longcall._core.clock import Clock
from longcall.contract import ContractError, decode_json
from longcall.service.auth.refusals import CannotVerify

__all__ = ["Certificates", "freshness_s"]

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0
_MIN_S: Final = 60.0
"""Never are they fetched more often than that: neither their server's words nor a caller's make us."""
_MAX_S: Final = 24 * 3600.0
_RETRY_S: Final = 5.0
_MAX_BYTES: Final = 1_000_000
_MAX_AGE: Final = re.compile(r"max-age\s*=\s*\"?(\d{1,9})")


def freshness_s(headers: Mapping[str, str]) -> float:
    """Return for how long an answer with these headers may be kept, as a cache of one's own counts."""
    directives = headers.get("cache-control", "").lower()
    if re.search(r"\bno-(store|cache)\b", directives):
        return 0.0
    age = headers.get("age", "")
    age_s = float(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0.0
    found = _MAX_AGE.search(directives)
    if found:
        return max(0.0, float(found[1]) - age_s)
    try:
        lives = parsedate_to_datetime(headers["expires"]) - parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError):
        return 0.0
    return max(0.0, lives.total_seconds() - age_s)


class Certificates:
    """The certificates at one address, by key id."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        """Fetch nothing yet."""
        self._url = url
        self._clock = clock
        self._fetching = asyncio.Lock()
        self._known: Mapping[str, str] = {}
        self._fetched_s = -_MAX_S
        self._fresh_until_s = 0.0
        self._failed_until_s: float | None = None

    async def find(self, key_id: str) -> str | None:
        """Return the certificate of a key, as PEM; None: there is none of that id.

        They are fetched when they have aged, and for a key that is not known, once a minute at most.
        Cancelling stops the fetch; who waits for the same then fetches itself.

        Raises:
            CannotVerify: they could not be fetched.
        """
        if not self._is_fresh() or key_id not in self._known:
            async with self._fetching:  # one for all who wait
                if not self._is_fresh() or self._may_be_newer(key_id):
                    await self._fetch()
        return self._known.get(key_id)

    def _is_fresh(self) -> bool:
        return bool(self._known) and self._clock.monotonic_s() < self._fresh_until_s

    def _may_be_newer(self, key_id: str) -> bool:
        return key_id not in self._known and self._clock.monotonic_s() >= self._fetched_s + _MIN_S

    async def _fetch(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._failed_until_s is not None and now_s < self._failed_until_s:
            raise CannotVerify("the certificates for tokens could not be fetched just now")
        try:
            async with asyncio.timeout(_TIMEOUT_S), httpx2.AsyncClient(timeout=_TIMEOUT_S) as http:
                known, headers = await _get(http, self._url)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError, ContractError) as error:
            self._failed_until_s = self._clock.monotonic_s() + _RETRY_S
            log.error("Callers cannot be verified: %s: %s %s", self._url, type(error).__name__, error)
            raise CannotVerify("the certificates for tokens cannot be fetched") from error
        self._failed_until_s = None
        self._known = known
        self._fetched_s = now_s
        self._fresh_until_s = now_s + min(max(freshness_s(headers), _MIN_S), _MAX_S)


async def _get(http: httpx2.AsyncClient, url: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    from google.auth import crypt

    async with http.stream("GET", url) as response:
        if response.status_code != 200:
            raise ValueError(f"answered {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError(f"has more than {_MAX_BYTES} bytes")
    known = decode_json(bytes(body), field="certificates")
    if not isinstance(known, dict) or not known:
        raise ValueError("is no JSON object of certificates by key id")
    certificates = {key: str(pem) for key, pem in known.items()}
    for pem in certificates.values():
        crypt.RSAVerifier.from_string(pem)  # raises ValueError
    return certificates, dict(response.headers)
