"""The page in a real browser, headless: it moves by itself, and needs no mouse."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.chromium import CHROMIUM, Page, open_page
from tests.e2e.serving import Process, calling, serving

from longcall.contract import Cancelled

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as opened:
        yield opened


@pytest.fixture
def service(broker: str, tmp_path: Path) -> Iterator[Process]:
    with serving(broker, "--store", str(tmp_path / "store")) as running:
        yield running


async def test_list_and_call_follow_the_work(
    page: Page, service: Process, broker: str, tmp_path: Path
) -> None:
    page.go(f"{service.url}/calls/")
    assert "No calls" in page.value("document.body.innerText")
    async with calling(service, broker) as caller:
        await caller.start("/says", "call-a", json=str(tmp_path / "go"))
        page.wait_for("document.querySelector('tbody .running') !== null")
        page.value("document.querySelector('tbody a').focus()")
        page.value("document.querySelector('tbody').isOld = true")
        await caller.start("/says", "call-b", json=str(tmp_path / "go"))
        page.wait_for("document.querySelectorAll('tbody tr').length === 2")
        page.wait_for("document.querySelector('tbody').isOld !== true")
        assert page.value("document.activeElement.textContent") == "call-a"  # the reader is where they were
        page.press("Enter")
        page.wait_for("document.querySelector('h1')?.textContent === 'call-a'")
        page.wait_for("document.querySelector('#lines')?.textContent.includes('attempt 1') === true")
        (tmp_path / "go").touch()
        page.wait_for("document.querySelector('.badge')?.textContent === 'succeeded'")
        page.wait_for("document.querySelector('#lines')?.textContent.includes('done')")
        assert page.value("document.querySelector('[aria-label=Result]').textContent") == '"done"'


async def test_call_is_cancelled_by_keyboard_alone(
    page: Page, service: Process, broker: str, tmp_path: Path
) -> None:
    async with calling(service, broker) as caller:
        await caller.start("/waits", "call-a", json=str(tmp_path / "go"))
        await caller.worker("call-a")
        page.go(f"{service.url}/calls/")
        for key in ("call-1", "cancel"):
            page.press_until("Tab", f"document.activeElement.id === '{key}'")
            page.press("Enter")
            page.wait_for(f"document.readyState === 'complete' && document.getElementById('{key}') === null")
        page.wait_for("document.activeElement.id === 'confirm'")
        page.press("Enter")
        assert isinstance(await caller.completion("call-a"), Cancelled)
        page.wait_for("document.querySelector('.badge')?.textContent === 'cancelled'")


async def test_every_control_has_a_name_and_nothing_is_refused_by_the_policy(
    page: Page, service: Process, broker: str, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    async with calling(service, broker) as caller:
        await caller.start("/says", "call-a", json=str(tmp_path / "go"))
        await caller.completion("call-a")
    for path in ("/calls/", "/calls/call-a"):
        page.go(f"{service.url}{path}")
        page.send("Accessibility.enable")
        tree = page.send("Accessibility.getFullAXTree")["nodes"]
        roles = {node["role"]["value"] for node in tree if "role" in node}
        assert {"banner", "main", "heading", "link"} <= roles
        for node in tree:
            if node.get("role", {}).get("value") in {"link", "button", "combobox", "table", "progressbar"}:
                assert node["name"]["value"]
        sheets = "[...document.styleSheets].every(sheet => sheet.cssRules.length > 0)"
        assert page.value(f"document.styleSheets.length === 1 && {sheets}")


async def test_open_page_does_not_hold_up_the_services_end(page: Page, service: Process) -> None:
    page.go(f"{service.url}/calls/")
    page.wait_for("document.getElementById('link')?.textContent === 'live'")
    assert service.end(signal.SIGTERM) == 0
    page.wait_for("document.getElementById('link')?.textContent === 'not connected'")
    assert "Cancel" not in service.log  # uvicorn cancels what does not end by itself
