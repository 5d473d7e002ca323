"""What the page about tests shows works as it stands there, run by pytest as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from longcall.broker.core.journal import What
from longcall.broker.rules.faults import DELIVERY_FAULTS, METHOD_FAULTS
from longcall.testing import InspectedBroker

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGE = (HOW_TO / "test-with-the-broker.md").read_text()


def examples(name: str) -> list[str]:
    page = (HOW_TO / name).read_text()
    found: list[str] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return found


def run_tests(folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("name", ["test-with-the-broker.md", "test-a-service.md"])
def test_examples_of_the_page_pass(tmp_path: Path, name: str) -> None:
    written = "\n\n".join(examples(name))
    (tmp_path / "test_page.py").write_text(written)
    assert f"{written.count('def test_')} passed" in run_tests(tmp_path)


def test_example_of_a_dag_s_test_passes(tmp_path: Path) -> None:
    """Its files are named in their first lines."""
    for example in examples("test-your-dags.md"):
        file = tmp_path / example.partition("\n")[0].removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(example)
    assert "2 passed" in run_tests(tmp_path)


def test_every_event_is_named() -> None:
    (named,) = re.findall(r"^\| `what` \|(.*)\|", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", re.sub(r"published`, else", "", named))[: len(get_args(What))] == list(
        get_args(What)
    )


def test_every_fault_is_named() -> None:
    (named,) = re.findall(r"^\| `AddFault` \| `kind`: (.*?);", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", named) == [*DELIVERY_FAULTS, *METHOD_FAULTS]
    knobs = re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE)
    assert all(hasattr(InspectedBroker, name) or name == "crash" for name in knobs)
    assert len(knobs) == 9
