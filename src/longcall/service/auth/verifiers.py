"""The port behind which a token is judged."""

from __future__ import annotations

from typing import Protocol

from longcall._core.clock import Clock
from longcall.service.auth.config import AuthConfig
from longcall.service.auth.tokens import TokenVerifier

__all__ = ["Verifier", "make_verifier"]


class Verifier(Protocol):
    """Judges tokens."""

    async def verify(self, token: str) -> None:
        """Return if the bearer of `token` may call.

        Raises:
            Refusal: it may not, or that cannot be known now.
        """
        ...


def make_verifier(config: AuthConfig, *, clock: Clock) -> Verifier | None:
    """Return what judges tokens as configured; None: whoever comes may call.

    Raises:
        ServiceConfigError: the file of tokens cannot be used.
    """
    if config.mode == "bearer":
        return TokenVerifier(config.tokens, file=config.token_file)
    if config.mode == "google-id-token":
        from longcall.service.auth.google import GoogleVerifier

        return GoogleVerifier(config, clock=clock)
    return None
