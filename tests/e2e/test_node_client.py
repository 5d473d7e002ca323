"""Google's client for Node, as a second, independent client of the broker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NODE = Path(__file__).parent.parent / "node"
BEHAVIOURS = re.findall(r"^  async (\w+)\(\) \{$", (NODE / "behaviours.mjs").read_text(), re.MULTILINE)
INSTALL_S = 120.0
WAIT_S = 60.0


@pytest.fixture(scope="module")
def node() -> str:
    """The interpreter, with the client installed; without either, its tests are skipped with the reason."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    if not (NODE / "node_modules").exists():
        installed = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=NODE,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
        if installed.returncode:
            shutil.rmtree(NODE / "node_modules", ignore_errors=True)
            pytest.skip(f"npm could not install the client: {installed.stderr[-300:]}")
    return node


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "longcall.cli.main", "broker", "--port", "0", "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"127.0.0.1:{process.stdout.readline().split()[-1]}"
    process.terminate()
    process.communicate(timeout=WAIT_S)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_node_client(node: str, address: str, behaviour: str) -> None:
    ran = subprocess.run(
        [node, "behaviours.mjs", behaviour],
        cwd=NODE,
        env={**os.environ, "PUBSUB_EMULATOR_HOST": address},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
