"""The file: what a restart finds in it, and what happens when it cannot be used."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from longcall._core.clock import SystemClock
from longcall.contract import CallRequest, CallState, Succeeded
from longcall.service.errors import ServiceConfigError, StoreUnavailable
from longcall.service.store import CallStore, open_store, sqlite


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[CallStore]:
    store = open_store(str(folder), service="s", clock=SystemClock())
    try:
        yield store
    finally:
        await store.aclose()


async def accept(store: CallStore, name: str, *, body: bytes = b"") -> None:
    await store.accept(CallRequest(correlation_id=name, body=body), handler="/h", max_open=1000)


async def is_known(store: CallStore, name: str) -> bool:
    return await store.get(name) is not None


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for name in ("waits", "runs", "ended"):
            await accept(store, name, body=name.encode())
        await store.cancel("waits")
        for _ in range(2):
            await store.claim(["/h"], owner="me")
        await store.end("ended", Succeeded.of(1), attempt=1, sequence=7)
    async with opened(tmp_path) as store:
        assert [due.sequence for due in await store.due(limit=9, but=(), not_to=())] == [2, 7]
        assert (await store.recover({}, max_interruptions=9)).rerun == ("runs",)
        work = await store.claim(["/h"], owner="you")
        assert work is not None
        assert (work.request.body, work.attempt) == (b"runs", 2)


async def test_one_process_alone_works_on_a_folder(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(ServiceConfigError, match=f"process {os.getpid()} works on"):
            open_store(str(tmp_path), service="s", clock=SystemClock())
    async with opened(tmp_path) as store:
        await accept(store, "a")


async def test_others_cannot_read_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "a" / "b"):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        for file in (tmp_path / "a" / "b").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "calls.db"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(ServiceConfigError, match="not a database; it was not touched"):
        open_store(str(tmp_path), service="s", clock=SystemClock())
    assert file.read_bytes() == b"no database" * 1000


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE longcall_layout SET version = 99", "layout 99.*newer longcall made"),
        ("DROP TABLE longcall_layout", "none of longcall's"),
    ],
)
async def test_file_that_is_newer_or_not_ours_is_refused(tmp_path: Path, statement: str, words: str) -> None:
    async with opened(tmp_path) as store:
        await accept(store, "a")
    with closing(sqlite3.connect(tmp_path / "calls.db")) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(ServiceConfigError, match=words):
        open_store(str(tmp_path), service="s", clock=SystemClock())


@pytest.mark.parametrize(
    "where", ["mysql://host/calls", "postgresql://127.0.0.1:1/x", "/dev/null/calls", "/proc/calls"]
)
def test_place_where_no_store_can_be_is_refused(where: str) -> None:
    with pytest.raises(ServiceConfigError, match=r"^store: "):
        open_store(where, service="s", clock=SystemClock())


async def test_full_disk_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await accept(store, "a")

        async def let_it_have(pages: int) -> None:
            await store._database.write(lambda db: db.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))

        await let_it_have(1)
        outcomes = await asyncio.gather(
            *(accept(store, f"b{n}", body=b"x" * 100_000) for n in range(5)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert "full" in str(outcomes[0])
        assert not await is_known(store, "b0")
        await let_it_have(100_000)
        await accept(store, "b0", body=b"x" * 100_000)
        assert await is_known(store, "b0")


async def test_foreign_lock_is_waited_for_and_then_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.05)
    async with opened(tmp_path) as store:
        with closing(sqlite3.connect(tmp_path / "calls.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await accept(store, "a")
            other.rollback()
        await accept(store, "a")


@pytest.mark.parametrize("replaced", [True, False])
async def test_file_that_is_gone_takes_no_more_calls(tmp_path: Path, replaced: bool) -> None:
    async with opened(tmp_path) as store:
        await accept(store, "a")
        (tmp_path / "calls.db").rename(tmp_path / "elsewhere.db")
        if replaced:
            (tmp_path / "calls.db").touch()
        with pytest.raises(StoreUnavailable, match=r"calls\.db"):
            await accept(store, "b")


async def test_closed_store_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await accept(store, "a")
    await store.aclose()


async def test_what_was_asked_for_before_the_end_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        asked = [asyncio.create_task(accept(store, str(n))) for n in range(300)]
        await asyncio.sleep(0)
        for task in asked[:10]:
            task.cancel()
    await asyncio.wait(asked)
    async with opened(tmp_path) as store:
        assert (await store.counts())[CallState.ACCEPTED] == 300


async def test_file_gives_room_back_when_calls_are_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for name in map(str, range(20)):
            await accept(store, name)
            await store.claim(["/h"], owner="me")
            await store.end(name, Succeeded(data=b"x" * 500_000), attempt=1, sequence=1)
            await store.note_published(name)
        assert await store.forget(max_ended=1, max_age_s=1e9, max_bytes=10**9) == 19
    assert (tmp_path / "calls.db").stat().st_size < 2_000_000
