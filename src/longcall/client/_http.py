"""One request to a service and its answer, read whole and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from longcall.client.errors import CallUnreachable
from longcall.contract import ContractError

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpAnswer", "check_url", "is_same_origin", "send"]

_MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""A status resource may carry a result, which is as large as a message at most, in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What came back.

    Attributes:
        status: the HTTP status.
        headers: by lower-case name.
        body: the whole body.
        url: where it came from.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


async def send(
    http: httpx2.AsyncClient, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b""
) -> HttpAnswer:
    """Send one request and read its answer, whatever its status.

    Raises:
        CallUnreachable: no answer, or only a part of one; the service may have acted on it. Retryable.
        ContractError: the URL is none, or the answer is larger than any that the contract knows.
    """
    import httpx2

    shown = urlunsplit(urlsplit(url)._replace(query="", fragment="", netloc=_host(url)))
    content = bytearray()
    try:
        async with http.stream(method, url, headers=dict(headers), content=body or None) as response:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > _MAX_ANSWER_BYTES:
                    raise ContractError("answer", f"{shown} answers with more than {_MAX_ANSWER_BYTES} bytes")
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
        raise ContractError("url", f"{shown!r} makes no usable request: {error}") from error
    except httpx2.HTTPError as error:
        raise CallUnreachable(
            f"no answer from {shown}: {str(error) or type(error).__name__}; check that the service is up",
            url=shown,
        ) from error
    return HttpAnswer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=bytes(content),
        url=str(response.url),
    )


def check_url(url: str) -> None:
    """Refuse what is no absolute URL of a service.

    Raises:
        ContractError: it is none.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ContractError("url", "not of the form http://host/path or https://host/path")


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs may be sent the same credentials (RFC 6454)."""
    left, right = urlsplit(one), urlsplit(other)
    return (left.scheme, left.netloc.rpartition("@")[2]) == (right.scheme, right.netloc.rpartition("@")[2])


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
