"""What the reference of the service shows works as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from httpx2 import AsyncClient, TransportError
from tests.e2e.polling import until
from tests.e2e.processes import WAIT_S

from longcall.cli.stack.ports import free_ports
from longcall.testing import running_broker
from longcall.transport.pubsub import PubSubTransport

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "service.md").read_text()
TOPIC = "projects/my-project/topics/completions"


@contextmanager
def running_uvicorn(folder: Path, *arguments: str, **environment: str) -> Iterator[None]:
    command = [sys.executable, "-m", "uvicorn", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=os.environ | environment)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM  # uvicorn's way to say that it has ended well


async def test_service_runs_within_a_fastapi_application(tmp_path: Path) -> None:
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (handlers,) = (block for block in blocks if '@service.handler("/train")' in block)
    (around,) = (block for block in blocks if "FastAPI(" in block)
    (tmp_path / "application.py").write_text(handlers + around)
    (port,) = free_ports(1)
    with running_broker() as broker:
        transport = PubSubTransport(emulator_host=broker)
        await transport.create_topic(TOPIC)
        await transport.aclose()
        arguments = ("application:app", "--port", str(port))
        with running_uvicorn(tmp_path, *arguments, PUBSUB_EMULATOR_HOST=broker, XDG_STATE_HOME=str(tmp_path)):
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as http:
                await until(lambda: answers(http, "/jobs/ready", "200"))
                started = await http.post("/jobs/train?correlid=a", json={"model": "svc"})
                assert (started.status_code, started.headers["location"]) == (202, "/jobs/calls/a")
                await until(lambda: answers(http, "/jobs/calls/a", '"succeeded"'))
                assert await answers(http, "/jobs/calls/", "/jobs/calls/a")


async def answers(http: AsyncClient, path: str, words: str) -> bool:
    """Tell whether an answer, which a browser asks for, has these words in it."""
    try:
        answer = await http.get(path, headers={"Accept": "text/html" if path.endswith("/") else "*/*"})
    except TransportError:
        return False
    return words in f"{answer.status_code} {answer.text}"
