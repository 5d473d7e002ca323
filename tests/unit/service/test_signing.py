"""A service signs what it says of a call, with the key that the request brought."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from tests.unit.service.handlers import Work, make_service

from longcall.contract import BadSignature, SigningKey, decode_report, is_completion, verify
from longcall.contract.signing import SIGNATURE_ATTRIBUTE

if TYPE_CHECKING:
    from tests.unit.service.conftest import OpenDesk

KEY = SigningKey(b"a key that nobody must ever see")


async def test_every_report_is_signed_and_the_key_shows_nowhere(
    open_desk: OpenDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    text = KEY.to_text()
    async with open_desk(make_service(Work())) as desk:
        headers = {"Longcall-Signing-Key": text}
        answer = await desk.http.post("/says?correlid=a", json={"info": "x"}, headers=headers)
        assert answer.headers["longcall-signed"] == "v1"
        kinds = []
        while not kinds or not is_completion(kinds[-1]):
            message = (await anext(aiter(desk.stream))).message
            verify(message, [KEY])
            report = decode_report(message)
            assert report is not None
            kinds.append(report.body)
        assert len(kinds) > 2
        urls = ("/calls", "/calls/a", "/calls/a/log", "/metrics", "/calls/")
        seen = [(await desk.http.get(url)).text for url in urls]
        seen += [answer.text, str(answer.headers), caplog.text]
        seen.append((await desk.http.get("/calls/a", headers={"Accept": "text/html"})).text)
        assert not any(text[6:] in each or KEY.secret.decode() in each for each in seen)


async def test_two_keys_sign_while_one_takes_the_others_place(open_desk: OpenDesk) -> None:
    """Whoever knows one of them can tell; who knows neither cannot."""
    other, unknown = (SigningKey(name * 32) for name in (b"o", b"u"))
    async with open_desk(make_service(Work())) as desk:
        headers = {"Longcall-Signing-Key": f"{KEY.to_text()} {other.to_text()}"}
        await desk.http.post("/echo?correlid=a", json=1, headers=headers)
        for _ in ("accepted", "succeeded"):
            message = (await anext(aiter(desk.stream))).message
            verify(message, [KEY])
            verify(message, [other])
            with pytest.raises(BadSignature):
                verify(message, [unknown])


async def test_key_of_a_request_that_comes_again_signs_too(open_desk: OpenDesk) -> None:
    work = Work()
    other = SigningKey(b"o" * 32)
    async with open_desk(make_service(work)) as desk:
        for key in (KEY, other):
            headers = {"Longcall-Signing-Key": key.to_text()}
            await desk.http.post("/held?correlid=a", json=1, headers=headers)
        work.released.set()
        while True:
            message = (await anext(aiter(desk.stream))).message
            report = decode_report(message)
            if report is not None and is_completion(report.body):
                break
        verify(message, [KEY])
        verify(message, [other])


async def test_without_a_key_nothing_is_signed(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        assert "longcall-signed" not in (await desk.start("/echo", "a")).headers
        message = (await anext(aiter(desk.stream))).message
        assert SIGNATURE_ATTRIBUTE not in message.attributes


async def test_bad_key_is_refused_before_anything_is_started(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        headers = {"Longcall-Signing-Key": "whsec_c2hvcnQ="}
        answer = await desk.http.post("/echo?correlid=a", headers=headers)
        assert answer.status_code == 400
        assert "c2hvcnQ" not in answer.text
        assert (await desk.http.get("/calls/a")).status_code == 404
    assert work.started == []
