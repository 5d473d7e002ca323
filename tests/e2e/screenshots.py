"""Take the pictures of the page that are in the docs: `python -m tests.e2e.screenshots FOLDER`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.e2e.chromium import open_page
from tests.e2e.polling import until
from tests.e2e.serving import Caller, calling, serving

from longcall.testing import running_broker

CALLS = [
    ("lc-wq3b7nfd2ke5rvs4mcyhxt6joa", "/report", {"day": "2026-01-30"}, True),
    ("lc-p4xk2vsh7qd3jzm5tnw6yabcre", "/train", {"model": "k nearest"}, True),
    ("lc-e7rdm2xq4jvw5thz3ksn6ybcpa", "/train", {"model": "nearest k"}, True),
    ("lc-j5zc6tyw3pm2xkq4hvn7sdebra", "/train", {"model": "gradient boosting", "halt_at": 3}, False),
    ("lc-t2hw7vbk4xr6nqd3smz5ycjepa", "/train", {"model": "random forest", "halt_at": 8}, False),
]


async def wait_for_progress(caller: Caller, name: str, done: object) -> None:
    async def is_there() -> bool:
        status = (await caller.http.get(f"/calls/{name}")).json()
        return bool(status.get("progress", {}).get("done") == done)

    await until(is_there)


async def picture(folder: Path) -> None:
    """Take the pictures, of a service that runs for it."""
    with (
        tempfile.TemporaryDirectory() as store,
        running_broker() as broker,
        serving(broker, "--store", store, target="pictured:service") as service,
        open_page() as page,
    ):
        async with calling(service, broker) as caller:
            for name, path, arguments, ends in CALLS:
                await caller.start(path, name, json=arguments)
                if ends:
                    await caller.completion(name)
                else:
                    await wait_for_progress(caller, name, arguments["halt_at"])
            page.go(f"{service.url}/calls/")
            page.wait_for("document.getElementById('link').textContent === 'live'")
            page.screenshot(folder / "calls.png", height=430)
            page.go(f"{service.url}/calls/{CALLS[-1][0]}")
            page.wait_for("document.querySelector('#lines p') !== null")
            page.wait_for("document.getElementById('link').textContent === 'live'")
            page.screenshot(folder / "call.png", height=520)


if __name__ == "__main__":
    asyncio.run(picture(Path(sys.argv[1])))
