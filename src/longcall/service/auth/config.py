"""How a service knows who may call it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, get_args
from urllib.parse import urlsplit

from longcall.service.errors import ServiceConfigError

__all__ = ["GOOGLE_CERTIFICATES", "AuthConfig", "AuthMode", "check_token"]

AuthMode: TypeAlias = Literal["none", "bearer", "google-id-token"]

GOOGLE_CERTIFICATES: Final = "https://www.googleapis.com/oauth2/v1/certs"
"""Where Google publishes the certificates of the keys that sign ID tokens, by key id, as PEM."""

_MODES: Final = get_args(AuthMode)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What RFC 6750 section 2.1 lets a token be."""
_MIN_TOKEN: Final = 16
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_VARIABLES: Final = {
    "bearer": ("LONGCALL_AUTH_TOKENS", "LONGCALL_AUTH_TOKEN_FILE"),
    "google-id-token": ("LONGCALL_AUTH_AUDIENCE", "LONGCALL_AUTH_ALLOWED_CALLERS"),
}


def check_token(token: str, *, setting: str) -> None:
    """Refuse a token that no header could carry, or that is short enough to guess.

    Raises:
        ServiceConfigError: names the setting, never the token.
    """
    if len(token) < _MIN_TOKEN or not _TOKEN.fullmatch(token):
        raise ServiceConfigError(
            setting,
            f"each token has at least {_MIN_TOKEN} characters, of letters, digits and -._~+/ : make one with "
            '`python -c "import secrets; print(secrets.token_urlsafe(32))"`',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Who may call. The representation shows no token.

    Attributes:
        mode: `none`: whoever reaches it; `bearer`: whoever has one of the tokens; `google-id-token`: whoever
            has an ID token that Google signed for one of the audiences, and is one of the allowed callers.
        tokens: of the mode `bearer`; several, so that a new one can be handed out before the old one goes.
        token_file: more of them, one a line; read again when it changes. Empty lines and `#` are ignored.
        audiences: of the mode `google-id-token`: the addresses by which callers know the service.
        allowed_callers: e-mail addresses, or unique ids, of accounts, mostly service accounts.
        certificates_url: where the certificates are; https, or http on this machine.
        clock_skew_s: by which the two clocks may differ.
        open_metrics: `/metrics` is answered without a token.
    """

    mode: AuthMode = "none"
    tokens: tuple[str, ...] = field(default=(), repr=False)
    token_file: Path | None = None
    audiences: tuple[str, ...] = ()
    allowed_callers: frozenset[str] = frozenset()
    certificates_url: str = GOOGLE_CERTIFICATES
    clock_skew_s: float = 10.0
    open_metrics: bool = False

    def __post_init__(self) -> None:
        """Refuse what would let in everybody, or nobody."""
        if self.mode not in _MODES:
            raise ServiceConfigError("LONGCALL_AUTH", f"one of {', '.join(_MODES)}")
        if self.mode == "bearer" and not self.tokens and self.token_file is None:
            raise ServiceConfigError(
                "LONGCALL_AUTH_TOKENS", "missing: set it, or LONGCALL_AUTH_TOKEN_FILE, for the mode bearer"
            )
        for token in self.tokens:
            check_token(token, setting="LONGCALL_AUTH_TOKENS")
        if self.mode == "google-id-token":
            self._check_google()
        if not 0 <= self.clock_skew_s <= 300:
            raise ServiceConfigError("clock_skew_s", "0 to 300 seconds")

    def _check_google(self) -> None:
        if not self.audiences:
            raise ServiceConfigError(
                "LONGCALL_AUTH_AUDIENCE", "missing: the address of the service, as callers ask tokens for it"
            )
        if not self.allowed_callers:
            raise ServiceConfigError(
                "LONGCALL_AUTH_ALLOWED_CALLERS",
                "missing: every Google account can have a token for any audience, so say which may call",
            )
        url = urlsplit(self.certificates_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise ServiceConfigError("LONGCALL_AUTH_CERTIFICATES_URL", "an https address")

    @property
    def open_paths(self) -> frozenset[str]:
        """The paths that are answered to everybody."""
        probes = {"/health", "/ready"}
        return frozenset(probes | {"/metrics"} if self.open_metrics else probes)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read `LONGCALL_AUTH` and what begins with `LONGCALL_AUTH_`; lists have commas or spaces between.

        Raises:
            ServiceConfigError: something is missing, or set for another mode than that of `LONGCALL_AUTH`.
        """
        mode = environ.get("LONGCALL_AUTH") or "none"
        for needed, names in _VARIABLES.items():
            for name in names:
                if environ.get(name) and mode in _MODES and mode != needed:
                    raise ServiceConfigError(name, f"is set, and LONGCALL_AUTH is {mode!r}, not {needed!r}")
        file = environ.get("LONGCALL_AUTH_TOKEN_FILE")
        return cls(
            mode=mode,  # type: ignore[arg-type] # checked by __post_init__
            tokens=_words(environ, "LONGCALL_AUTH_TOKENS"),
            token_file=Path(file) if file else None,
            audiences=_words(environ, "LONGCALL_AUTH_AUDIENCE"),
            allowed_callers=frozenset(_words(environ, "LONGCALL_AUTH_ALLOWED_CALLERS")),
            certificates_url=environ.get("LONGCALL_AUTH_CERTIFICATES_URL") or GOOGLE_CERTIFICATES,
            open_metrics=_switch(environ, "LONGCALL_AUTH_OPEN_METRICS"),
        )


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(environ.get(name, "").replace(",", " ").split())


def _switch(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").lower()
    if value not in ("", "0", "1", "false", "true"):
        raise ServiceConfigError(name, "1 or 0")
    return value in ("1", "true")
