"""Why a request is turned away. None of these says anything of the token itself."""

from __future__ import annotations

from longcall._core.errors import LongcallError

__all__ = ["CannotVerify", "HeaderMalformed", "HeaderTooLarge", "NotAllowed", "NotAuthenticated", "Refusal"]


class Refusal(LongcallError):
    """A request that goes no further.

    Attributes:
        status: the HTTP status.
        title: of the problem.
        code: of the problem, and what RFC 6750 section 3.1 calls `error`; empty: nothing is named.
    """

    status: int = 401
    title: str = "Not authenticated"
    code: str = ""


class NotAuthenticated(Refusal):
    """The request brings no token, or one that does not count; answered 401."""

    def __init__(self, reason: str, *, has_token: bool = True) -> None:
        """Say why; without a token RFC 6750 wants no error code."""
        super().__init__(reason)
        self.code = "invalid_token" if has_token else ""


class HeaderMalformed(Refusal):
    """The request brings several tokens; answered 400."""

    status = 400
    title = "Malformed request"
    code = "invalid_request"


class HeaderTooLarge(Refusal):
    """The token is longer than any; answered 431, and not looked at."""

    status = 431
    title = "Too large"


class NotAllowed(Refusal):
    """It is known who calls, and that one may not; answered 403."""

    status = 403
    title = "Not allowed"
    code = "insufficient_scope"


class CannotVerify(Refusal):
    """Nobody can tell now whether the token counts; answered 503, and the same may succeed later."""

    status = 503
    title = "Not now"
    retryable = True
