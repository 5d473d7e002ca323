"""Results by reference, fetched with care: only from where it is allowed, no more than there is room for.

A reference is an address that somebody else chose, and whoever follows it lends that somebody its network
and its credentials. So nothing is fetched unless a prefix allows it, and nothing is used unless size and
digest agree.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from longcall.client.errors import ResultNotFetched
from longcall.contract import ContractError, DataReference, Succeeded
from longcall.transport.errors import TransportError
from longcall.transport.files import read_file

__all__ = ["ResultAccess", "fetch_result"]

_WEB: Final = frozenset({"http", "https"})
_LOCAL: Final = frozenset({"file", "local"})
_TIMEOUT_S: Final = 60.0
_NOT_PLAIN: Final = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultAccess:
    """From where results may be fetched.

    Attributes:
        prefixes: absolute URLs; what lies below one of them may be fetched. None: nothing may.
        max_bytes: a larger result is not fetched.
    """

    prefixes: tuple[str, ...] = ()
    max_bytes: int = 100_000_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Allow what `LONGCALL_RESULT_PREFIXES` names, with commas between.

        Raises:
            ContractError: one of them is no URL.
        """
        listed = environ.get("LONGCALL_RESULT_PREFIXES", "").split(",")
        return cls(prefixes=tuple(each.strip() for each in listed if each.strip()))

    def __post_init__(self) -> None:
        """Refuse what allows too much by mistake.

        Raises:
            ContractError: names the field.
        """
        if self.max_bytes < 1:
            raise ContractError("max_result_bytes", "at least 1")
        for prefix in self.prefixes:
            parts = _split(prefix)
            if parts is None or not _names_a_place(parts):
                raise ContractError("result_prefixes", f"{prefix!r} is no URL such as gs://bucket/results")

    def check(self, reference: DataReference) -> str:
        """Return the prefix that allows a result to be fetched.

        Raises:
            ResultNotFetched: none does, or it is too large, or says too little to be checked.
        """
        shown = _shown(reference.url)
        prefix = next((prefix for prefix in self.prefixes if _lies_below(reference.url, prefix)), None)
        if prefix is None:
            raise ResultNotFetched(
                f"the result lies at {shown}, and no result prefix allows it to be fetched from there "
                f"({', '.join(self.prefixes) or 'there are none'}): add one to result_prefixes to trust it",
                url=shown,
            )
        if reference.size_bytes is not None and reference.size_bytes > self.max_bytes:
            raise self.too_large(shown, f"{reference.size_bytes} bytes")
        if reference.sha_256 is None:
            raise ResultNotFetched(
                f"the result lies at {shown}, and its digest names no SHA-256 to check it by", url=shown
            )
        return prefix

    def too_large(self, shown: str, size: str) -> ResultNotFetched:
        """Return the error for a result that is not fetched for its size."""
        return ResultNotFetched(
            f"the result at {shown} has {size}: more than max_result_bytes, {self.max_bytes}", url=shown
        )


def fetch_result(result: Succeeded, access: ResultAccess) -> Succeeded:
    """Return the result with its data; one that needs not be fetched as it is. Blocks.

    Raises:
        ResultNotFetched: it may not be fetched, or is not there, or is not what its service put there.
            Retryable: it cannot be reached now.
    """
    reference = result.reference
    if reference is None:
        return result
    prefix, shown = access.check(reference), _shown(reference.url)
    try:
        data = _read(reference.url, prefix, access.max_bytes, shown)
    except ResultNotFetched as error:
        # Not asked before: the service's clock is not ours.
        if reference.expires_time is None or reference.expires_time > datetime.now(UTC):
            raise
        said = f"{error}; it was to lie there until {reference.expires_time:%Y-%m-%d %H:%M:%S} UTC"
        raise ResultNotFetched(said, url=shown, retryable=error.retryable) from error
    if len(data) > access.max_bytes:
        raise access.too_large(shown, "more than it says")
    try:
        reference.check_data(data)
    except ContractError as error:
        raise ResultNotFetched(f"the result at {shown} is not used: {error}", url=shown) from error
    return Succeeded(data=data, content_type=result.content_type)


def _read(url: str, prefix: str, max_bytes: int, shown: str) -> bytes:
    scheme = urlsplit(url).scheme.lower()
    if scheme in _WEB:
        return _read_web(url, max_bytes, shown)
    if scheme in _LOCAL:
        return _read_local(urlsplit(url).path, urlsplit(prefix).path, max_bytes, shown)
    try:
        return read_file(url, max_bytes=max_bytes)
    except TransportError as error:
        raise ResultNotFetched(
            f"the result could not be fetched: {error}", url=shown, retryable=error.retryable
        ) from error


def _read_web(url: str, max_bytes: int, shown: str) -> bytes:
    """Read what one GET answers; a redirect would lead to where nobody has allowed."""
    import httpx2

    content = bytearray()
    try:
        with (
            httpx2.Client(timeout=_TIMEOUT_S, follow_redirects=False) as http,
            http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code != 200:
                raise ResultNotFetched(
                    f"{shown} answers {answer.status_code} in place of the result",
                    url=shown,
                    retryable=answer.status_code >= 500 or answer.status_code in {408, 429},
                )
            for part in answer.iter_raw():
                content += part
                if len(content) > max_bytes:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ResultNotFetched(f"no result from {shown}: {error}", url=shown, retryable=True) from error
    return bytes(content)


def _read_local(path: str, below: str, max_bytes: int, shown: str) -> bytes:
    """Read a file below a folder, each step of the way without following a link."""
    names = path.removeprefix(below.rstrip("/")).strip("/").split("/")
    folder = os.O_RDONLY | os.O_DIRECTORY
    try:
        descriptor = os.open(below, folder)
        for name, flags in [
            *((name, folder) for name in names[:-1]),
            (names[-1], os.O_RDONLY | os.O_NONBLOCK),
        ]:
            outer = descriptor
            try:
                descriptor = os.open(name, flags | os.O_NOFOLLOW, dir_fd=outer)
            finally:
                os.close(outer)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ResultNotFetched(f"{shown} is no regular file", url=shown)
            return file.read(max_bytes + 1)
    except OSError as error:
        link = "; links are not followed" if error.errno in {errno.ELOOP, errno.ENOTDIR} else ""
        raise ResultNotFetched(f"{shown} cannot be read: {error.strerror}{link}", url=shown) from error


def _lies_below(url: str, prefix: str) -> bool:
    """Tell whether a URL lies below a prefix, whoever wrote it and however it may be read."""
    parts, allowed = _split(url), _split(prefix)
    if parts is None or allowed is None or _strange(parts):
        return False
    if (parts.scheme, parts.netloc) != (allowed.scheme, allowed.netloc):
        return False
    if parts.query and parts.scheme not in _WEB:
        return False
    steps = parts.path.split("/")[1:] if parts.path.startswith("/") else parts.path.split("/")
    below = allowed.path.rstrip("/") + "/"
    return (
        parts.path.startswith(below)
        and len(parts.path) > len(below)
        and all(step not in {"", ".", ".."} for step in _unquoted(steps))
    )


def _names_a_place(parts: SplitResult) -> bool:
    """Tell whether a URL can be a prefix, and is not the whole of this machine."""
    path = parts.path.rstrip("/")
    named = parts.netloc if parts.scheme not in _LOCAL else path
    rooted = not path or path.startswith("/")
    return bool(parts.scheme and named and rooted and not parts.query and not _strange(parts))


def _unquoted(steps: Iterable[str]) -> Iterable[str]:
    """Yield the steps of a path as a careless reader may see them: unquoted, and once more."""
    for step in steps:
        once = unquote(step)
        for seen in (step, once, unquote(once)):
            yield from re.split(r"[/\\]", seen) if seen != step else [seen]


def _strange(parts: SplitResult) -> bool:
    """Tell whether a URL has what no address of a result has: a login, a fragment, a chain, blanks."""
    text = urlunsplit(parts)
    local_host = parts.scheme.lower() in _LOCAL and parts.netloc not in {"", "localhost"}
    return bool(
        "@" in parts.netloc or parts.fragment or "::" in text or _NOT_PLAIN.search(text) or local_host
    )


def _split(url: str) -> SplitResult | None:
    try:
        if _NOT_PLAIN.search(url):  # urlsplit takes some of them out
            return None
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _shown(url: str) -> str:
    """Return a URL as a log may show it: its query may be a signature."""
    parts = _split(url)
    if parts is None:
        return "no URL"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
