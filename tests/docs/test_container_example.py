"""What the Dockerfile of the example starts, started without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from httpx2 import Client

from longcall.testing import running_broker

HERE = Path(__file__).parents[2] / "examples/container"
DOCKERFILE = (HERE / "Dockerfile").read_text()


@pytest.mark.timeout(60)
def test_command_of_the_container_serves_the_example(tmp_path: Path) -> None:
    ((program, *arguments),) = [
        json.loads(line) for line in re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    ]
    ((environment),) = re.findall(r"^ENV (.*)$", DOCKERFILE, re.MULTILINE)
    variables = dict(pair.split("=") for pair in environment.split())
    shutil.copy(HERE / "trainer.py", tmp_path)
    assert (program, variables["PORT"]) == ("longcall", "8080")
    arguments[arguments.index("0.0.0.0")] = "127.0.0.1"
    with running_broker() as broker:
        own = {"PORT": "0", "LONGCALL_STORE": str(tmp_path / "calls"), "PUBSUB_EMULATOR_HOST": broker}
        process = subprocess.Popen(
            [sys.executable, "-m", "longcall.cli.main", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                **variables,
                **own,
                "LONGCALL_TOPIC": "completions",
                "GOOGLE_CLOUD_PROJECT": "p",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[2].rstrip(",")
            with Client(base_url=url, trust_env=False) as http:
                assert http.get("/ready").status_code == 200
                bad = http.post("/train?correlid=a", json={"steps": "many"})
                assert (bad.status_code, len(bad.json()["errors"])) == (422, 2)
                assert http.post("/train?correlid=b", json={"model": "svc"}).status_code == 202
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()
