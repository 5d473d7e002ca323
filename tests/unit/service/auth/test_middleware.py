"""The door of a service with static tokens: what each request is answered."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from httpx2 import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Message, Scope

from longcall._core.clock import SystemClock
from longcall.contract import PROBLEM_TYPE
from longcall.service.auth import AuthConfig, make_verifier
from longcall.service.auth.middleware import Authentication

TOKEN = "a-token-that-nobody-guesses"
GOOD = {"Authorization": f"Bearer {TOKEN}"}


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


def guarded(config: AuthConfig) -> Starlette:
    app = Starlette(
        routes=[
            Route("/train", _answer, methods=["POST"]),
            Route("/calls", _answer),
            Route("/calls/{id:path}", _answer, methods=["GET", "DELETE"]),
            Route("/metrics", _answer),
            Route("/health", _answer),
            WebSocketRoute("/socket", _answer),
        ]
    )
    verifier = make_verifier(config, clock=SystemClock())
    assert verifier is not None
    app.add_middleware(Authentication, verifier=verifier, open_paths=config.open_paths)
    return app


@asynccontextmanager
async def opened(app: Starlette) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://service") as http:
        yield http


@pytest.fixture
async def http() -> AsyncIterator[AsyncClient]:
    async with opened(guarded(AuthConfig(mode="bearer", tokens=(TOKEN,)))) as client:
        yield client


REQUESTS = [
    ("POST", "/train?correlid=an-id"),
    ("GET", "/calls"),
    ("GET", "/calls/an-id"),
    ("DELETE", "/calls/an-id"),
    ("GET", "/calls//health"),
    ("GET", "/health/"),
    ("GET", "/metrics"),
    ("GET", "/unknown"),
    ("GET", "/%2e/health"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_request_without_a_token_goes_no_further(http: AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, path)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == PROBLEM_TYPE
    # RFC 6750 section 3.1: who brought no token is told no error code.
    assert answer.headers["www-authenticate"] == 'Bearer realm="longcall"'
    assert answer.json()["retryable"] is False


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_request_with_the_token_reaches_the_application(
    http: AsyncClient, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers=GOOD)

    assert answer.status_code not in (401, 403)


async def test_health_is_told_to_everybody(http: AsyncClient) -> None:
    assert (await http.get("/health")).status_code == 200
    assert (await http.get("/health", headers={"Authorization": "Bearer wrong"})).status_code == 200


async def test_metrics_are_open_if_configured() -> None:
    async with opened(guarded(AuthConfig(mode="bearer", tokens=(TOKEN,), open_metrics=True))) as http:
        assert (await http.get("/metrics")).status_code == 200
        assert (await http.get("/calls")).status_code == 401


async def test_body_comes_through_whole(http: AsyncClient) -> None:
    assert (await http.post("/train", headers=GOOD, content=b"x" * 100_000)).text == "100000 bytes"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
async def test_scheme_is_read_as_http_has_it(http: AsyncClient, scheme: str) -> None:
    assert (await http.get("/calls", headers={"Authorization": f"{scheme} {TOKEN}"})).status_code == 200


@pytest.mark.parametrize(
    "value",
    [f"Bearer {TOKEN}x", "Bearer", "Bearer ", "Bearer a b", "Bearer é", f"Bearer{TOKEN}"],
)
async def test_token_that_does_not_count_is_called_invalid(http: AsyncClient, value: str) -> None:
    answer = await http.get("/calls", headers=[(b"authorization", value.encode("latin-1"))])

    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["code"] == "invalid_token"


@pytest.mark.parametrize("value", ["Basic dTpw", "", TOKEN, "Negotiate"])
async def test_other_schemes_are_told_which_one_to_use(http: AsyncClient, value: str) -> None:
    answer = await http.get("/calls", headers={"Authorization": value})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="longcall"'


async def test_several_tokens_are_one_too_many(http: AsyncClient) -> None:
    headers = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer another-one-of-them")]

    answer = await http.get("/calls", headers=headers)

    assert answer.status_code == 400
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


async def test_huge_header_is_not_looked_at(http: AsyncClient) -> None:
    answer = await http.get("/calls", headers={"Authorization": "Bearer " + "a" * 20_000})

    assert answer.status_code == 431
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert len(answer.content) < 500


async def test_tokens_that_cannot_be_read_are_a_reason_to_come_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    async with opened(guarded(AuthConfig(mode="bearer", token_file=file))) as http:
        file.unlink()
        answer = await http.get("/calls", headers=GOOD)

    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["retryable"] is True
    assert "tokens" in answer.json()["detail"]
    assert str(file) not in answer.text


async def test_mounted_application_knows_its_own_paths() -> None:
    inner = guarded(AuthConfig(mode="bearer", tokens=(TOKEN,)))
    async with opened(Starlette(routes=[Mount("/jobs", app=inner)])) as http:
        assert (await http.get("/jobs/health")).status_code == 200
        assert (await http.get("/jobs/calls")).status_code == 401
        assert (await http.get("/jobs/calls", headers=GOOD)).status_code == 200


async def test_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "websocket", "path": "/socket", "headers": [], "subprotocols": []}
    await guarded(AuthConfig(mode="bearer", tokens=(TOKEN,)))(scope, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_refusals_are_logged_without_the_token_and_in_one_line(
    http: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-wrong-token-and-still-somebodys"

    answer = await http.get("/calls/a%0Ab", headers={"Authorization": f"Bearer {secret}"})

    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("longcall")]
    assert "the token is not known here" in line
    assert "\n" not in line
    assert secret not in caplog.text + answer.text + str(answer.headers)


def test_without_authentication_there_is_nothing_to_pass() -> None:
    assert make_verifier(AuthConfig(), clock=SystemClock()) is None
