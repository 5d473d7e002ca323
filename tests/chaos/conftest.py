"""Kill storms: long with `make chaos`, a few rounds in `make test`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the storms be longer than in an ordinary test run."""
    parser.addoption("--rounds", type=int, default=3, help="kills in each storm (default: %(default)s)")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rounds"))
