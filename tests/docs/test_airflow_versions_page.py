"""The page about Airflow's versions says what the environments of `make matrix` are made of."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/airflow-versions.md").read_text()
ENVIRONMENTS = sorted((ROOT / "constraints").glob("*.txt"), key=lambda file: file.name)
COMPAT = "apache-airflow-providers-common-compat"


def pins(file: Path) -> dict[str, str]:
    lines = [line.partition(";")[0].strip() for line in file.read_text().splitlines()]
    return dict(line.split("==") for line in lines)


def allowed() -> dict[str, str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return dict(requirement.split(">=") for requirement in extras["airflow"])


@pytest.mark.parametrize("file", [*ENVIRONMENTS, ROOT / "constraints.txt"], ids=lambda file: file.stem)
def test_table_has_a_row_for_each_environment(file: Path) -> None:
    pinned = pins(file)
    rows = re.findall(r"^\| (2\.\S+|3\.\S+) \| \S+ \| (\S+) \| (\S+) \|", PAGE, re.MULTILINE)
    wanted = ("apache-airflow", COMPAT, "apache-airflow-providers-google")
    assert tuple(pinned[name] for name in wanted) in rows


def test_oldest_airflow_is_tested_with_the_oldest_providers_that_are_allowed() -> None:
    oldest, pinned = allowed(), pins(ROOT / "constraints/airflow-2.11.txt")
    del oldest["apache-airflow"]  # its newest patch
    assert {name: pinned[name] for name in oldest} == oldest
    assert tuple(map(int, oldest[COMPAT].split("."))) <= (1, 18, 0)


def test_managed_airflows_common_compat_is_tested() -> None:
    assert "1.18.0" in {pins(file)[COMPAT] for file in ENVIRONMENTS if "airflow-3" in file.name}
