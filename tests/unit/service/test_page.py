"""The page for a person: what it shows, and that nothing of a call is markup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from tests.unit.contract.strategies import progresses
from tests.unit.service.handlers import Work, make_service

from longcall.contract import Progress, Succeeded
from longcall.service.auth import AuthConfig
from longcall.service.calls import Calls
from longcall.service.page.live import Watchers
from longcall.service.page.wording import Preview, ago, duration, percent, preview, progress_text

if TYPE_CHECKING:
    from httpx2 import Response
    from tests.unit.service.conftest import Desk, OpenDesk

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = '"><script>alert(1)</script>&\u202e\x1b[31m'
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3605, "1 h"),
        (90_000, "1 d 1 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_length_of_time(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_how_long_ago() -> None:
    assert ago(NOW - timedelta(seconds=200), now=NOW) == "3 min ago"
    assert ago(NOW + timedelta(seconds=200), now=NOW) == "now"


@given(progresses)
def test_any_progress_has_words_and_a_share(progress: Progress) -> None:
    share = percent(progress)
    assert progress_text(progress)
    assert share is None or 0 <= share <= 100


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (Succeeded.of({"ä": 1}), Preview('{\n  "ä": 1\n}', False, "8 bytes", "application/json")),
        (Succeeded(data=b"text"), Preview("text", False, "4 bytes", "")),
        (Succeeded(data=b"\xff\xd8", content_type="image/png"), Preview(None, False, "2 bytes", "image/png")),
        (
            Succeeded(data=b"{", content_type="application/json"),
            Preview(None, False, "1 bytes", "application/json"),
        ),
        (Succeeded(data=b"x" * 1_500_000), Preview("x" * 100_000, True, "1.5 MB", "")),
    ],
)
def test_what_is_shown_of_a_result(result: Succeeded, shown: Preview) -> None:
    assert preview(result) == shown


class Reader(HTMLParser):
    """Collects a page's elements and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(answer: Response, status: int = 200) -> Reader:
    """Check what holds for every page, and read it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    reader = Reader()
    reader.feed(answer.text)
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert tag != "script" or "asset=page.js" in (attributes["src"] or "")
        assert not str(attributes.get("href", "")).startswith("javascript:")
    return reader


async def page(desk: Desk, url: str, status: int = 200) -> Reader:
    return read(await desk.http.get(url, headers=HTML), status)


async def test_list_shows_each_call_and_how_it_stands(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        await desk.start("/echo", "a")
        await desk.reports("a")
        await desk.start("/refuses", "b")
        await desk.reports("b")
        await desk.start("/held", "c")
        await work.begun.wait()
        everything = await page(desk, "/calls/")
        assert [a["href"] for tag, a in everything.elements if a.get("class") == "id"] == [
            "/calls/c",
            "/calls/b",
            "/calls/a",
        ]
        assert "Unknown model" in everything.text
        failed = await page(desk, "/calls/?state=failed&handler=/refuses")
        assert [a["href"] for tag, a in failed.elements if a.get("class") == "id"] == ["/calls/b"]
        first = await page(desk, "/calls/?page_size=1")
        older = next(a["href"] for _, a in first.elements if a.get("rel") == "next")
        assert older is not None
        second = await page(desk, f"/calls/{older.rpartition('/')[2]}&page_size=1")
        assert [a["href"] for tag, a in second.elements if a.get("class") == "id"] == ["/calls/b"]
        work.released.set()


@pytest.mark.parametrize("query", ["?state=asleep", "?page_size=x", "?nonsense=1"])
async def test_query_that_is_none_is_explained(open_desk: OpenDesk, query: str) -> None:
    async with open_desk(make_service(Work())) as desk:
        assert "Not acceptable" in (await page(desk, f"/calls/{query}", 422)).text


async def test_nothing_of_a_call_is_markup(open_desk: OpenDesk) -> None:
    name = "<script>alert(1)</script>&'"
    url = f"/calls/{quote(name, safe='')}"
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post(f"/says?correlid={quote(name)}", json={"error": HOSTILE})
        await desk.reports(name)
        await desk.http.post("/echo?correlid=a", json=HOSTILE, headers={"Longcall-Caller": name})
        await desk.reports("a")
        assert name in (await page(desk, "/calls/")).text
        assert '"><script>alert(1)</script>&' in (await page(desk, url)).text
        assert (await page(desk, "/calls/a")).text.count("<script>alert(1)</script>") == 2


async def test_call_shows_result_log_and_history(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/says", "a", body={"warning": "it is hot"})
        await desk.reports("a")
        shown = await page(desk, "/calls/a")
        assert all(text in shown.text for text in ("it is hot", "succeeded", "accepted", "null", "attempt 1"))
        assert "Cancel" not in shown.text
        await desk.start("/refuses", "b")
        await desk.reports("b")
        failed = await page(desk, "/calls/b")
        assert all(text in failed.text for text in ("Unknown model", "gpt-0", "will not help"))


async def test_result_is_downloaded_and_never_shown_by_the_browser(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post("/serve?correlid=a/b", content=b"<script>")
        await desk.reports("a/b")
        answer = await desk.http.get("/calls/a%2Fb?result", headers=HTML)
        assert answer.content == b"<SCRIPT>"
        assert answer.headers["content-disposition"] == 'attachment; filename="a_b"'
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_who_asks_for_no_html_gets_json(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/echo", "a")
        for accept in ("*/*", "application/json", ""):
            answer = await desk.http.get("/calls/a", headers={"Accept": accept})
            assert answer.json()["correlid"] == "a"
        assert (await desk.http.get("/calls")).json()["calls"][0]["correlid"] == "a"
        assert "Unknown call" in (await page(desk, "/calls/nobody", 404)).text


async def test_cancellation_is_asked_for_and_then_done(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        await desk.start("/held", "a/b?")
        await work.begun.wait()
        assert "Cancel this call?" in (await page(desk, "/calls/a%2Fb%3F?cancel")).text
        assert work.cancelled == []
        answer = await desk.http.post("/calls/a%2Fb%3F", headers={**HTML, **SAME})
        assert (answer.status_code, answer.headers["location"]) == (303, "/calls/a%2Fb%3F")
        await desk.reports("a/b?")
        assert "cancelled" in (await page(desk, "/calls/a%2Fb%3F?cancel")).text  # ended: nothing to ask
        read(await desk.http.post("/calls/nobody", headers=SAME), 404)


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://service"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://service"}, True),
    ],
)
async def test_other_sites_cancel_nothing(open_desk: OpenDesk, headers: dict[str, str], taken: bool) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        await desk.start("/held", "a")
        await work.begun.wait()
        answer = await desk.http.post("/calls/a", headers=headers)
        assert answer.status_code == (303 if taken else 403)
        if not taken:
            work.released.set()
        await desk.reports("a")
        assert work.cancelled == [taken]


async def test_service_without_the_page_has_none(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work()), page=False) as desk:
        await desk.start("/echo", "a")
        assert (await desk.http.get("/calls/", headers=HTML)).status_code == 404
        assert (await desk.http.get("/calls/a", headers=HTML)).json()["correlid"] == "a"
        assert (await desk.http.post("/calls/a", headers=SAME)).status_code == 405


async def test_page_is_behind_the_same_authentication_as_the_api(open_desk: OpenDesk) -> None:
    auth = AuthConfig(mode="bearer", tokens=("a-token-that-nobody-guesses",))
    async with open_desk(make_service(Work()), auth=auth) as desk:
        for method, url in (("GET", "/calls/"), ("GET", "/calls/?asset=page.js"), ("POST", "/calls/a")):
            assert (await desk.http.request(method, url, headers={**HTML, **SAME})).status_code == 401
        headers = {**HTML, "Authorization": "Bearer a-token-that-nobody-guesses"}
        read(await desk.http.get("/calls/", headers=headers))


async def test_style_and_script_are_the_services_own(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        for _, attributes in (await page(desk, "/calls/")).elements:
            address = attributes.get("src") or attributes.get("href") or ""
            if "asset=" in address:
                assert (await desk.http.get(address)).headers["content-type"].startswith("text/")
        assert (await desk.http.get("/calls/?asset=../routes.py")).status_code == 404


def stream(watchers: Watchers, calls: Calls) -> AsyncIterator[bytes]:
    found = watchers.watch(calls)
    assert found is not None
    return found


async def test_open_page_is_told_of_changes_and_let_go_when_the_service_stops(open_desk: OpenDesk) -> None:
    work, watchers = Work(), Watchers()
    async with open_desk(make_service(work)) as desk:
        calls = desk.running.calls
        events = stream(watchers, calls)
        assert await anext(events) == b"retry: 2000\n\n"
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await desk.start("/held", "a")
        assert b"changed" in await waiting
        assert b"changed" in await anext(events)  # what happened during its pause is not missed
        others = [stream(watchers, calls) for _ in range(99)]
        for other in others:
            await anext(other)
        assert watchers.watch(calls) is None
        work.released.set()
        await desk.running.stop()
        for open_stream in (events, *others):
            assert [event async for event in open_stream] in ([], [b"event: changed\ndata:\n\n"])
        assert [event async for event in stream(watchers, calls)] == [b"retry: 2000\n\n"]
