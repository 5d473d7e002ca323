"""A service image needs no Airflow: the bare install is proved in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with this checkout's wheel and what that requires."""
    home = tmp_path_factory.mktemp("bare")
    run(UV, "venv", "--quiet", "--python", sys.executable, home)
    interpreter = home / "bin" / "python"
    run(
        *(UV, "pip", "install", "--quiet", "--python", interpreter),
        *("--constraint", ROOT / "constraints.txt", ROOT),
        UV_SYSTEM_CERTS="1",
    )
    return interpreter


@pytest.mark.parametrize("room", ["contract", "client", "service", "transport.pubsub"])
def test_room_imports_on_the_bare_install(python: Path, room: str) -> None:
    run(python, "-W", "error::DeprecationWarning:longcall", "-c", f"import longcall.{room}")


@pytest.mark.parametrize("package", ["airflow", "starlette", "uvicorn", "sklearn", "rich"])
def test_package_of_an_extra_is_not_on_the_bare_install(python: Path, package: str) -> None:
    found = run(python, "-c", f"import importlib.util as u; print(u.find_spec({package!r}) is not None)")

    assert found.strip() == "False"


@pytest.mark.parametrize(("command", "extra"), [("broker", "broker"), ("serve", "service"), ("demo", "demo")])
def test_command_that_lacks_its_extra_says_what_to_install(python: Path, command: str, extra: str) -> None:
    arguments = ["module:service", "--topic", "t", "--project", "p"] if command == "serve" else []

    done = subprocess.run(
        [python.with_name("longcall"), command, *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert f"pip install 'longcall[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
