"""Stands before the service's application and lets through who may call (RFC 6750, RFC 9110 section 11)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from longcall.contract import PROBLEM_TYPE, Problem
from longcall.service.auth.refusals import HeaderMalformed, HeaderTooLarge, NotAuthenticated, Refusal
from longcall.service.auth.verifiers import Verifier

__all__ = ["Authentication", "bearer_token"]

log = logging.getLogger(__name__)

_MAX_HEADER_BYTES: Final = 16_384
_RETRY_AFTER_S: Final = 5
_CREDENTIALS: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_POLICY_VIOLATION: Final = 1008


class Authentication:
    """ASGI middleware: a request without a good token is answered here."""

    def __init__(self, app: ASGIApp, *, verifier: Verifier, open_paths: Collection[str]) -> None:
        """Stand before `app`.

        Args:
            app: the application.
            verifier: judges tokens.
            open_paths: paths of the application that need none.
        """
        self._app = app
        self._verifier = verifier
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "lifespan" and _route_path(scope) not in self._open_paths:
            try:
                await self._verifier.verify(bearer_token(scope["headers"]))
            except Refusal as refusal:
                log.warning("Refused %s %r: %s", scope.get("method", ""), scope["path"][:200], refusal)
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
                else:
                    await _answer(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token that a request brings.

    Args:
        headers: as ASGI gives them, names in lower case.

    Raises:
        NotAuthenticated: it brings none.
        HeaderMalformed: it brings several headers.
        HeaderTooLarge: it brings more than 16 KiB.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise NotAuthenticated("send a token: `Authorization: Bearer ...`", has_token=False)
    if len(values) > 1:
        raise HeaderMalformed("there are several Authorization headers")
    if len(values[0]) > _MAX_HEADER_BYTES:
        raise HeaderTooLarge(f"the Authorization header has more than {_MAX_HEADER_BYTES} bytes")
    value = values[0].strip()
    found = _CREDENTIALS.fullmatch(value)
    if found:
        return found[1].decode("ascii")
    if value.lower().startswith(b"bearer"):
        raise NotAuthenticated("what follows `Bearer` is no token")
    raise NotAuthenticated("send a token: `Authorization: Bearer ...`", has_token=False)


def _route_path(scope: Scope) -> str:
    """Return the path as Starlette's routes see it: below what the application is mounted at."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _answer(refusal: Refusal) -> Response:
    problem = Problem(
        title=refusal.title,
        detail=str(refusal),
        code=refusal.code,
        status=refusal.status,
        retryable=refusal.retryable,
    )
    headers = {"Cache-Control": "no-store"}
    if refusal.status == 503:
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    elif refusal.status != 431:
        headers["WWW-Authenticate"] = _challenge(refusal)
    return Response(json.dumps(problem.to_wire()), refusal.status, headers, PROBLEM_TYPE)


def _challenge(refusal: Refusal) -> str:
    if not refusal.code:
        return 'Bearer realm="longcall"'
    said = str(refusal).replace("\\", "").replace('"', "'")
    return f'Bearer realm="longcall", error="{refusal.code}", error_description="{said}"'
