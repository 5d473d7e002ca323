"""Static tokens: some that are given once, and some in a file that may change while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from longcall.service.auth.config import check_token
from longcall.service.auth.refusals import CannotVerify, NotAuthenticated
from longcall.service.errors import ServiceConfigError

__all__ = ["TokenVerifier"]

log = logging.getLogger(__name__)

_MAX_FILE_BYTES: Final = 65_536

_Version: TypeAlias = tuple[int, int, int]
"""Of a file: it changes when the file is written, or another takes its place."""


class TokenVerifier:
    """Lets in whoever has one of the tokens. It keeps their digests only."""

    def __init__(self, tokens: Sequence[str], *, file: Path | None) -> None:
        """Read the file.

        Raises:
            ServiceConfigError: the file cannot be read, or holds no token, or one that cannot be any.
        """
        self._given = [_digest(token) for token in tokens]
        self._file = file
        self._version: _Version | None = None
        self._read: list[bytes] = []
        if file is not None:
            self._read_again(file)

    async def verify(self, token: str) -> None:
        """Return if the token is one of those.

        Raises:
            NotAuthenticated: it is none.
            CannotVerify: the file is gone or holds what cannot be tokens. Those given otherwise count still.
        """
        digest = _digest(token)
        if _is_among(digest, self._given):
            return
        try:
            if self._file is not None:
                self._read_again(self._file)
        except ServiceConfigError as error:
            log.error("Callers cannot be verified: %s", error)
            raise CannotVerify("the service cannot read its tokens") from None
        if not _is_among(digest, self._read):
            raise NotAuthenticated("the token is not known here")

    def _read_again(self, file: Path) -> None:
        """Read the file if it is not the one that was read last."""
        try:
            found = file.stat()
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if version == self._version:
                return
            self._version, self._read = None, []
            with file.open("rb") as opened:
                text = opened.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            self._version, self._read = None, []
            raise ServiceConfigError(
                "LONGCALL_AUTH_TOKEN_FILE", f"{file}: {os.strerror(error.errno or 0)}"
            ) from error
        self._read = [_digest(token) for token in _tokens(file, text)]
        self._version = version
        log.info("Tokens are read from %s: %d", file, len(self._read))


def _tokens(file: Path, text: bytes) -> list[str]:
    setting = f"LONGCALL_AUTH_TOKEN_FILE {file}"
    if len(text) > _MAX_FILE_BYTES:
        raise ServiceConfigError(setting, f"it has more than {_MAX_FILE_BYTES} bytes")
    lines = (line.strip() for line in text.decode("utf-8", "replace").splitlines())
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ServiceConfigError(setting, "it holds no token")
    for token in tokens:
        check_token(token, setting=setting)
    return tokens


def _is_among(digest: bytes, known: Sequence[bytes]) -> bool:
    """Compare with all of them, whichever it is: the time that takes tells nothing."""
    return sum(hmac.compare_digest(digest, one) for one in known) > 0


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
