"""ID tokens that Google signed: OpenID Connect, verified with google-auth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.auth import jwt

from longcall._core.clock import Clock
from longcall.service.auth.certificates import Certificates
from longcall.service.auth.config import AuthConfig
from longcall.service.auth.refusals import NotAllowed, NotAuthenticated

__all__ = ["GoogleVerifier"]

_ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")
_MALFORMED: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What google-auth raises of what is no token. Its words may hold the token, and are never passed on."""


class GoogleVerifier:
    """Lets in allowed callers who bring a token of Google's for one of the audiences."""

    def __init__(self, config: AuthConfig, *, clock: Clock) -> None:
        """Fetch nothing yet."""
        self._config = config
        self._certificates = Certificates(config.certificates_url, clock=clock)

    async def verify(self, token: str) -> None:
        """Return if the token is good, and its bearer may call.

        Raises:
            NotAuthenticated: it is none of Google's, not for us, or not valid now.
            NotAllowed: it is good, and its bearer is not among the allowed callers.
            CannotVerify: Google's certificates cannot be had.
        """
        key_id = _key_id(token)
        certificate = await self._certificates.find(key_id)
        if certificate is None:
            raise NotAuthenticated("the token is not signed by Google")
        claims = _verified(token, {key_id: certificate}, skew_s=self._config.clock_skew_s)
        if claims.get("iss") not in _ISSUERS:
            raise NotAuthenticated("the token is not issued by Google")
        if claims.get("aud") not in self._config.audiences:
            raise NotAuthenticated("the token is for another audience")
        self._check_caller(claims)

    def _check_caller(self, claims: Mapping[str, Any]) -> None:
        allowed = self._config.allowed_callers
        if str(claims.get("sub")) in allowed:
            return
        if not isinstance(claims.get("email"), str) or claims.get("email_verified") is not True:
            raise NotAllowed("the token names no verified e-mail address: ask for one that includes it")
        if claims["email"] not in allowed:
            raise NotAllowed("the token's account is not among the allowed callers")


def _key_id(token: str) -> str:
    """Return which key a token says it is signed with. Only RSA counts: it is all that Google uses here."""
    try:
        header = jwt.decode_header(token)
    except _MALFORMED:
        raise NotAuthenticated("the token is no JSON Web Token") from None
    key_id = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(key_id, str):
        raise NotAuthenticated("the token is not signed as Google's are")
    return key_id


def _verified(token: str, certificates: Mapping[str, str], *, skew_s: float) -> Mapping[str, Any]:
    """Return the claims of a token whose signature and times are good."""
    try:
        claims: Mapping[str, Any] = jwt.decode(token, certs=certificates, clock_skew_in_seconds=skew_s)
    except _MALFORMED as error:
        said = str(error)
        if said.startswith("Token expired"):
            raise NotAuthenticated("the token has expired") from None
        if said.startswith("Token used too early"):
            raise NotAuthenticated("the token is not valid yet: a clock is wrong") from None
        raise NotAuthenticated("the token is not signed by Google") from None
    return claims
