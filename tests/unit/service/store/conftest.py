"""A store in memory and one in a file: what holds for one holds for the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longcall.service.store import MEMORY, CallStore, open_store
from longcall.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["memory", "file"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[CallStore]:
    store = open_store(MEMORY if request.param == "memory" else str(tmp_path / "calls"), clock=clock)
    yield store
    await store.aclose()
