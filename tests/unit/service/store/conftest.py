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


@pytest.fixture(params=["memory", "file", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[CallStore]:
    match request.param:
        case "memory":
            where = MEMORY
        case "file":
            where = str(tmp_path / "calls")
        case _:
            where = request.getfixturevalue("make_postgres")()
    store = open_store(where, service="s", clock=clock)
    yield store
    await store.aclose()
