"""What holds for every test."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from longcall.cli.stack.airflow_release import airflow_version

# The machines are shared: how long an example takes says nothing about the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


# Importing Airflow writes to its home: not to the user's.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="longcall-airflow-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    _AIRFLOW_HOME.cleanup()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the kill storms be longer with `make chaos` than in `make test`."""
    parser.addoption("--rounds", type=int, default=3, help="kills in each storm (default: %(default)s)")
    parser.addoption("--airflow-python", type=Path, help="an interpreter with another Airflow, for the stack")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let half a surrogate pair that a test has printed reach the process that reports."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give each file to one process, and those that share an Airflow to the same one (`pytest -n 2`)."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            shares = (
                file.startswith("tests/airflow/") and "mark.stack" in (config.rootpath / file).read_text()
            )
            return "airflow" if shares else file

    return ByFile(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the Airflow under test cannot do, and say why."""
    for marker in item.iter_markers("airflow_defect"):
        release, why = marker.args
        if tuple(map(int, release.split("."))) == _airflow_under_test(item.config):
            pytest.skip(f"Airflow {release} itself: {why}")
    for marker in item.iter_markers("needs_airflow"):
        release, why = marker.args
        if tuple(map(int, release.split("."))) > _airflow_under_test(item.config):
            pytest.skip(f"needs Airflow {release}: {why}")


def _airflow_under_test(config: pytest.Config) -> tuple[int, ...]:
    python = config.getoption("--airflow-python") or Path(sys.executable)
    return tuple(map(int, airflow_version(python.absolute()).split(".")[:2]))


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rounds"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, from a wheel."""
    from tests.postgres import Postgres

    with Postgres() as server:
        yield server.url


@pytest.fixture(scope="session")
def make_postgres(postgres_server: str) -> Callable[[], str]:
    """Makes empty schemas; returns the URL of each."""
    import psycopg

    numbers = itertools.count()

    def make() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{postgres_server}&options=-csearch_path%3D{name}"

    return make
