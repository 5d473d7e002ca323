"""A headless Chromium, driven over a pipe by the DevTools protocol: nothing to install but the browser."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.polling import wait_until

__all__ = ["CHROMIUM", "Page", "open_page"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_S = 60.0


class Page:
    """The one page of a browser."""

    def __init__(self, writing: int, reading: int) -> None:
        self._writing, self._reading = writing, reading
        self._rest = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        target = next(t for t in self._wait_for_targets() if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self.send("Page.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def go(self, url: str) -> None:
        """Open an address, and wait for its page."""
        self.send("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression is."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        wait_until(lambda: self.value(expression) is True, f"never: {expression}")

    def press(self, key: str) -> None:
        """Press a key, as a person does."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def press_until(self, key: str, expression: str) -> None:
        """Press a key until an expression is true, a hundred times at most."""
        for _ in range(100):
            self.press(key)
            if self.value(expression) is True:
                return
        raise AssertionError(f"{key} never led to {expression}")

    def screenshot(self, file: Path, *, width: int = 1100, height: int = 560) -> None:
        """Take a picture of what is to be seen."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _wait_for_targets(self) -> list[dict[str, Any]]:
        def targets() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.send("Target.getTargets")["targetInfos"]
            return found

        wait_until(lambda: any(target["type"] == "page" for target in targets()), "the browser opens no page")
        return targets()

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._reading, 1 << 16)
            assert chunk, "the browser has ended"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@contextmanager
def open_page() -> Iterator[Page]:
    """Run a browser with one empty page; it ends with the block."""
    assert CHROMIUM is not None
    commands, writing = os.pipe()
    reading, answers = os.pipe()

    def arrange() -> None:  # the protocol's descriptors are 3 and 4
        first, second = os.dup(commands), os.dup(answers)
        os.dup2(first, 3)
        os.dup2(second, 4)

    with tempfile.TemporaryDirectory(prefix="longcall-chromium-", ignore_cleanup_errors=True) as profile:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
        browser = subprocess.Popen(
            [CHROMIUM, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=arrange,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        try:
            yield Page(writing, reading)
        finally:
            browser.kill()
            browser.wait()
            os.close(writing)
            os.close(reading)
