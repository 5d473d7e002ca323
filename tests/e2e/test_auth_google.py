"""ID tokens as Google makes them: real keys, certificates fetched over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from tests.e2e.identities import AUDIENCE, CALLER, Issuer, Key, key, running_issuer

from longcall._core.clock import ShiftedClock, SystemClock
from longcall.service.auth import AuthConfig, Verifier, make_verifier
from longcall.service.auth.refusals import CannotVerify, NotAllowed, NotAuthenticated

HOUR_S = 3600.0


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock(SystemClock())


@pytest.fixture
def verifier(issuer: Issuer, clock: ShiftedClock) -> Verifier:
    config = AuthConfig(
        mode="google-id-token",
        audiences=(AUDIENCE, "https://another.example"),
        allowed_callers=frozenset({CALLER, "987"}),
        certificates_url=issuer.url,
        clock_skew_s=10,
    )
    verifier = make_verifier(config, clock=clock)
    assert verifier is not None
    return verifier


async def test_good_token_passes(verifier: Verifier, issuer: Issuer) -> None:
    await verifier.verify(issuer.key.token())
    await verifier.verify(issuer.key.token(aud="https://another.example"))
    await verifier.verify(issuer.key.token(iss="accounts.google.com"))
    await verifier.verify(issuer.key.token(sub="987", email=None))


async def test_clocks_may_differ_a_little(verifier: Verifier, issuer: Issuer) -> None:
    now = int(time.time())

    await verifier.verify(issuer.key.token(exp=now - 5))
    await verifier.verify(issuer.key.token(iat=now + 5))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1}, "the token has expired"),
        ({"iat": 2**40}, "the token is not valid yet: a clock is wrong"),
        ({"exp": None}, "the token is not signed by Google"),
        ({"exp": "soon"}, "the token is not signed by Google"),
        ({"aud": "https://somebody-else.example"}, "the token is for another audience"),
        ({"aud": None}, "the token is for another audience"),
        ({"aud": [AUDIENCE]}, "the token is for another audience"),
        ({"iss": "https://accounts.example"}, "the token is not issued by Google"),
        ({"iss": None}, "the token is not issued by Google"),
    ],
)
async def test_token_with_a_wrong_claim_is_refused(
    verifier: Verifier, issuer: Issuer, claims: dict[str, object], reason: str
) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        await verifier.verify(issuer.key.token(**claims))

    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "somebody@my-project.iam.gserviceaccount.com"},
        {"email": CALLER.upper()},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": None},
        {"email": [CALLER]},
        {"email": None, "sub": None},
    ],
)
async def test_account_that_is_not_allowed_is_known_and_refused(
    verifier: Verifier, issuer: Issuer, claims: dict[str, object]
) -> None:
    with pytest.raises(NotAllowed):
        await verifier.verify(issuer.key.token(**claims))


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_token_signed_with_another_key_of_the_same_id_is_refused(
    verifier: Verifier, issuer: Issuer
) -> None:
    with pytest.raises(NotAuthenticated, match="not signed by Google"):
        await verifier.verify(Key(issuer.key.id).token())


async def test_changed_token_is_refused(verifier: Verifier, issuer: Issuer) -> None:
    header, _, signature = issuer.key.token(email="somebody@else.example").split(".")
    _, payload, _ = issuer.key.token().split(".")

    with pytest.raises(NotAuthenticated, match="not signed by Google"):
        await verifier.verify(f"{header}.{payload}.{signature}")


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES256", "", None])
async def test_token_with_another_algorithm_is_refused(
    verifier: Verifier, issuer: Issuer, alg: str | None
) -> None:
    _, payload, signature = issuer.key.token().split(".")
    header = _segment({"alg": alg, "kid": issuer.key.id, "typ": "JWT"})

    for signed in (signature, ""):
        with pytest.raises(NotAuthenticated):
            await verifier.verify(f"{header}.{payload}.{signed}")
    assert issuer.asked == 0


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        "..",
        "a.b.c.d",
        f"{_segment([])}.{_segment({})}.c",
        f"{_segment({'alg': 'RS256'})}.{_segment({})}.c",
        f"{_segment({'alg': 'RS256', 'kid': ['a']})}.{_segment({})}.c",
        base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.c",
        base64.urlsafe_b64encode(b"\xff\xfe").decode() + ".e30.c",
    ],
)
async def test_what_is_no_token_is_refused(verifier: Verifier, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await verifier.verify(token)


async def test_certificates_are_fetched_once_for_as_long_as_http_says(
    verifier: Verifier, issuer: Issuer, clock: ShiftedClock
) -> None:
    await asyncio.gather(*(verifier.verify(issuer.key.token()) for _ in range(20)))
    assert issuer.asked == 1

    clock.advance(HOUR_S - 60)
    await verifier.verify(issuer.key.token())
    assert issuer.asked == 1

    clock.advance(120)
    await verifier.verify(issuer.key.token())
    assert issuer.asked == 2


async def test_certificates_are_fetched_once_a_minute_at_most(
    verifier: Verifier, issuer: Issuer, clock: ShiftedClock
) -> None:
    issuer.headers = {"Cache-Control": "no-store"}
    for _ in range(3):
        await verifier.verify(issuer.key.token())
    assert issuer.asked == 1

    clock.advance(61)
    await verifier.verify(issuer.key.token())
    assert issuer.asked == 2


async def test_new_key_of_google_s_is_fetched_and_made_up_ones_are_not(
    verifier: Verifier, issuer: Issuer, clock: ShiftedClock
) -> None:
    await verifier.verify(issuer.key.token())
    first, issuer.key = issuer.key, key("the-second")
    clock.advance(61)

    await verifier.verify(issuer.key.token())
    assert issuer.asked == 2
    with pytest.raises(NotAuthenticated):
        await verifier.verify(first.token())  # withdrawn
    for _ in range(3):
        with pytest.raises(NotAuthenticated):
            await verifier.verify(key("the-third").token())
    assert issuer.asked == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (302, b"{}"),
        (200, b"no JSON"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"the-first": "no certificate"}'),
        (200, b'{"the-first": 5}'),
        (200, b'{"a": "' + b"x" * 1_100_000 + b'"}'),
    ],
)
async def test_certificates_that_cannot_be_had_are_no_fault_of_the_caller(
    verifier: Verifier, issuer: Issuer, clock: ShiftedClock, status: int, body: bytes
) -> None:
    issuer.status, issuer.body = status, body
    for _ in range(3):
        with pytest.raises(CannotVerify) as refused:
            await verifier.verify(issuer.key.token())
    assert refused.value.retryable
    assert issuer.asked == 1  # not once for each request

    issuer.status, issuer.body = 200, None
    clock.advance(6)
    await verifier.verify(issuer.key.token())


async def test_nobody_who_listens_is_no_fault_of_the_caller(clock: ShiftedClock) -> None:
    with running_issuer() as gone:
        config = AuthConfig(
            mode="google-id-token",
            audiences=(AUDIENCE,),
            allowed_callers=frozenset({CALLER}),
            certificates_url=gone.url,
        )
    verifier = make_verifier(config, clock=clock)
    assert verifier is not None

    with pytest.raises(CannotVerify):
        await verifier.verify(gone.key.token())


async def test_aged_certificates_count_no_more_when_no_new_ones_can_be_had(
    verifier: Verifier, issuer: Issuer, clock: ShiftedClock
) -> None:
    await verifier.verify(issuer.key.token())
    issuer.status = 503
    clock.advance(HOUR_S + 1)

    with pytest.raises(CannotVerify):
        await verifier.verify(issuer.key.token())


async def test_slow_certificates_hold_up_neither_the_loop_nor_those_whose_key_is_known(
    verifier: Verifier, issuer: Issuer, clock: ShiftedClock
) -> None:
    await verifier.verify(issuer.key.token())
    known, issuer.hold = issuer.key, threading.Event()
    clock.advance(61)
    issuer.key = key("the-second")

    waiting = asyncio.create_task(verifier.verify(issuer.key.token()))
    await issuer.wait_until_asked(2)
    await verifier.verify(known.token())
    assert not waiting.done()

    issuer.hold.set()
    await waiting


async def test_cancelled_request_leaves_the_fetch_to_the_next(verifier: Verifier, issuer: Issuer) -> None:
    issuer.hold = threading.Event()
    first = asyncio.create_task(verifier.verify(issuer.key.token()))
    second = asyncio.create_task(verifier.verify(issuer.key.token()))
    await issuer.wait_until_asked(1)
    first.cancel()
    await asyncio.wait({first})
    issuer.hold.set()

    await second
    assert first.cancelled()


async def test_no_refusal_tells_the_token(
    verifier: Verifier, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = [
        issuer.key.token(exp=1),
        issuer.key.token(aud="x"),
        issuer.key.token(email="a@b"),
        "secret.secret",
    ]
    tokens.append(issuer.key.token()[:-20])

    for token in tokens:
        with pytest.raises((NotAuthenticated, NotAllowed)) as refused:
            await verifier.verify(token)
        assert refused.value.__cause__ is None
        assert not [part for part in token.split(".") if part in f"{refused.value}{caplog.text}"]
