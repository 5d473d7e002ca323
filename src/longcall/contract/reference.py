"""A result by reference: it lies at an address, and the report says where, and how to know it again.

CloudEvents' `dataref` extension, and beside it what a careful reader wants to know before and after it
fetches: the size in bytes, a digest as RFC 9530 writes it (`sha-256=:…:`), and until when it lies there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from urllib.parse import urlsplit

from longcall.contract.errors import ContractError
from longcall.contract.instants import decode_instant, encode_instant
from longcall.contract.json import JsonValue, whole_number

__all__ = ["DataReference", "digest_of", "reference_from_wire", "reference_to_wire"]

_SHA_256: Final = re.compile(r"(?:^|,)[ \t]*sha-256=:([A-Za-z0-9+/]+=*):")
_DIGEST_BYTES: Final = 32


def digest_of(data: bytes) -> str:
    """Return the digest of some data, as `Repr-Digest` has it: `sha-256=:BASE64:`."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReference:
    """Where a result lies.

    Attributes:
        url: absolute, of any scheme that its reader can fetch from.
        size_bytes: how large it is; None: its sender does not say.
        digest: of its bytes, `sha-256=:BASE64:`, perhaps beside others; empty: its sender does not say.
        expires_time: until when it lies there, aware; None: its sender does not say.
    """

    url: str
    size_bytes: int | None = None
    digest: str = ""
    expires_time: datetime | None = None

    @classmethod
    def of(cls, data: bytes, *, url: str, expires_time: datetime | None = None) -> Self:
        """Return the reference to data that lies at `url`."""
        return cls(url=url, size_bytes=len(data), digest=digest_of(data), expires_time=expires_time)

    @property
    def sha_256(self) -> bytes | None:
        """The SHA-256 that the digest names; None: it names none."""
        found = _SHA_256.search(self.digest)
        try:
            sum_ = base64.b64decode(found[1], validate=True) if found else b""
        except binascii.Error:
            return None
        return sum_ if len(sum_) == _DIGEST_BYTES else None

    def check_complete(self) -> None:
        """Return if it says all that a careful reader asks for.

        Raises:
            ContractError: it is no absolute URL, or size or SHA-256 is missing.
        """
        if not (self.url.isascii() and self.url.isprintable() and " " not in self.url):
            raise ContractError("dataref", "a URL of visible ASCII characters: escape what is none")
        if not (_scheme(self.url) and len(self.url) > len(_scheme(self.url)) + 1):
            raise ContractError("dataref", "an absolute URL, such as gs://bucket/name")
        if self.size_bytes is None or self.size_bytes < 0:
            raise ContractError("datasize", "the size in bytes")
        if self.sha_256 is None:
            raise ContractError("datadigest", "of the form sha-256=:BASE64:")

    def check_data(self, data: bytes) -> None:
        """Return if these are the bytes that it speaks of.

        Raises:
            ContractError: they are not, or it does not say enough to tell.
        """
        expected = self.sha_256
        if expected is None:
            raise ContractError("datadigest", "names no SHA-256: nobody can tell whether this is the result")
        if self.size_bytes is not None and len(data) != self.size_bytes:
            raise ContractError("datasize", f"{len(data)} bytes lie there, not {self.size_bytes}")
        if not hmac.compare_digest(hashlib.sha256(data).digest(), expected):
            raise ContractError("datadigest", "what lies there is not what the service put there")


def reference_to_wire(reference: DataReference) -> dict[str, JsonValue]:
    """Return the reference as members of the status resource's `result`."""
    wire: dict[str, JsonValue] = {"dataref": reference.url}
    if reference.size_bytes is not None:
        wire["datasize"] = reference.size_bytes
    if reference.digest:
        wire["datadigest"] = reference.digest
    if reference.expires_time is not None:
        wire["dataexpires"] = encode_instant(reference.expires_time, field="dataexpires")
    return wire


def reference_from_wire(wire: Mapping[str, JsonValue]) -> DataReference:
    """Read those members; the attributes of a report say the same, all of them as text.

    Raises:
        ContractError: a member is not as the contract has it.
    """
    url, size, digest, expires = (wire.get(n) for n in ("dataref", "datasize", "datadigest", "dataexpires"))
    if not isinstance(url, str) or not url:
        raise ContractError("dataref", "a URL")
    size_bytes = None if size is None else whole_number(size)
    if size is not None and size_bytes is None:
        raise ContractError("datasize", "a whole number, 0 or more")
    if not isinstance(digest, str | None):
        raise ContractError("datadigest", "a string")
    if not isinstance(expires, str | None):
        raise ContractError("dataexpires", "a string")
    return DataReference(
        url=url,
        size_bytes=size_bytes,
        digest=digest or "",
        expires_time=decode_instant(expires, field="dataexpires") if expires else None,
    )


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""
