"""What services and brokers in processes of their own need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longcall.testing import running_broker


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def broker() -> Iterator[str]:
    with running_broker() as address:
        yield address
