"""Signed reports: the right to publish on a topic is not the right to speak for a call.

The start request brings a key, the service signs each report of the call with it, and the caller takes no
other. Keys are written as Standard Webhooks has them (`whsec_` and base64), and a signature is `v1,` and
base64. What is signed is every attribute that a reader looks at, and the data:

    for each attribute that is `correlid`, `content-type` or `ce-` with letters and digits, sorted by name:
        NAME:BASE64(value) LF
    data:BASE64(SHA-256(data)) LF

Base64 has neither colon nor line end, so no two messages are written alike. HMAC-SHA256 (RFC 2104) of that
is the signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from longcall.contract.errors import ContractError
from longcall.contract.message import Message

__all__ = [
    "MAX_SIGNING_KEYS",
    "SIGNATURE_ATTRIBUTE",
    "BadSignature",
    "SigningKey",
    "content_digest",
    "keys_from_header",
    "keys_to_header",
    "sign",
    "verify",
]

SIGNATURE_ATTRIBUTE: Final = "longcall-signature"
MAX_SIGNING_KEYS: Final = 4
"""Of one call: one, but while another takes its place."""

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1,"
_MIN_BYTES: Final = 24
_MAX_BYTES: Final = 64
_NEW_BYTES: Final = 32
_SIGNED: Final = re.compile(r"correlid|content-type|ce-[a-z0-9]+")


class BadSignature(ContractError):
    """A report that does not come from who was asked, or not as it was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(SIGNATURE_ATTRIBUTE, reason)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret that caller and service share for one call. It shows in no log and no traceback.

    Attributes:
        secret: 24 to 64 bytes.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a key that is guessed too easily."""
        if not _MIN_BYTES <= len(self.secret) <= _MAX_BYTES:
            raise ContractError("signing key", f"{_MIN_BYTES} to {_MAX_BYTES} bytes")

    @classmethod
    def new(cls) -> Self:
        """Make one at random."""
        return cls(secrets.token_bytes(_NEW_BYTES))

    @classmethod
    def derived(cls, secret: bytes, *names: str) -> Self:
        """Make the one of these names: always the same, and unguessable without `secret`."""
        return cls(hmac.digest(secret, json.dumps(["longcall signing", *names]).encode(), hashlib.sha256))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key.

        Raises:
            ContractError: it is none; its text is not repeated.
        """
        try:
            if text.startswith(_PREFIX):
                return cls(base64.b64decode(text.removeprefix(_PREFIX), validate=True))
        except binascii.Error:
            pass
        raise ContractError("signing key", f"{_PREFIX} and base64")

    def to_text(self) -> str:
        """Return it as a header holds it."""
        return _PREFIX + _base64(self.secret)


def keys_to_header(keys: Sequence[SigningKey]) -> str:
    """Return keys as `Longcall-Signing-Key` holds them; several while one takes another's place."""
    return " ".join(key.to_text() for key in keys)


def keys_from_header(text: str) -> tuple[SigningKey, ...]:
    """Read keys.

    Raises:
        ContractError: one of them is none, or there are more than four.
    """
    keys = tuple(SigningKey.parse(word) for word in text.split())
    if len(keys) > MAX_SIGNING_KEYS:
        raise ContractError("signing key", f"{MAX_SIGNING_KEYS} at most")
    return keys


def sign(message: Message, keys: Sequence[SigningKey]) -> Message:
    """Return the message with a signature by each key, in place of any that it has; without keys as it is."""
    if not keys:
        return message
    signed = _signed(message)
    signatures = " ".join(_VERSION + _base64(_signature(key, signed)) for key in keys)
    return replace(message, attributes={**message.attributes, SIGNATURE_ATTRIBUTE: signatures})


def verify(message: Message, keys: Sequence[SigningKey]) -> None:
    """Return if one of the keys has signed the message as it is.

    The same message again is as good as the first: what was seen is told by `ce-id`.

    Raises:
        BadSignature: none has.
    """
    found = message.attributes.get(SIGNATURE_ATTRIBUTE)
    if not found:
        raise BadSignature("missing: the report is not signed")
    signed = _signed(message)
    for word in found.split():
        for key in keys:
            expected = _VERSION + _base64(_signature(key, signed))
            if hmac.compare_digest(word.encode(errors="replace"), expected.encode()):
                return
    raise BadSignature("made with another key, or of another report")


def content_digest(message: Message) -> str:
    """Return what two messages share that say the same, as far as signatures cover it."""
    return hashlib.sha256(_signed(message)).hexdigest()


def _signed(message: Message) -> bytes:
    names = sorted(name for name in message.attributes if _SIGNED.fullmatch(name))
    lines = [f"{name}:{_base64(message.attributes[name].encode(errors='surrogatepass'))}\n" for name in names]
    return "".join([*lines, f"data:{_base64(hashlib.sha256(message.data).digest())}\n"]).encode()


def _signature(key: SigningKey, signed: bytes) -> bytes:
    return hmac.digest(key.secret, signed, hashlib.sha256)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
