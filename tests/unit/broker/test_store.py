"""The store: what it acknowledged is there after a reopening, and what it cannot use it leaves alone."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from longcall.broker.core.store import MemoryStore, SavedState, SqliteStore, Write
from longcall.broker.errors import StoreError

WRITES = [
    Write.resource("topic", "t", b"topic"),
    Write.resource("subscription", "s", b"subscription", number=7, active_s=12.5),
    Write.messages([(1, b"one"), (2, b"two")]),
    Write.deliveries([(7, 1), (7, 2)]),
]


def _reopened(folder: Path) -> SavedState:
    store = SqliteStore(folder)
    state = store.open()
    store.close()
    return state


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "new" / "folder")
    assert store.open().resources == []
    await store.write(WRITES)
    await store.write([Write.deliveries_gone([(7, 1)]), Write.messages_gone([1])])
    store.close()
    state = _reopened(tmp_path / "new" / "folder")
    assert state.of_kind("topic") == [("topic", "t", 0, 0.0, b"topic")]
    assert state.of_kind("subscription") == [("subscription", "s", 7, 12.5, b"subscription")]
    assert state.messages == [(2, b"two")]
    assert state.deliveries == [(7, 2, 0)]


@pytest.mark.parametrize("power_safe", [False, True])
async def test_writes_of_many_are_durable_in_their_order(tmp_path: Path, power_safe: bool) -> None:
    store = SqliteStore(tmp_path, power_safe=power_safe)
    store.open()
    order: list[int] = []
    await asyncio.gather(
        *(
            store.write([Write.messages([(n, b"x")])], then=lambda n=n: order.append(n))  # type: ignore[misc]
            for n in range(500)
        )
    )
    store.close()
    assert order == list(range(500))
    assert [row[0] for row in _reopened(tmp_path).messages] == order


async def test_what_comes_then_happens_even_if_the_caller_no_longer_waits(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    done = asyncio.Event()
    writing = asyncio.create_task(store.write(WRITES, then=done.set))
    await asyncio.wait({writing}, timeout=0)  # it is queued, and perhaps committed
    writing.cancel()
    await asyncio.wait_for(done.wait(), 30)
    store.close()


async def test_failed_transaction_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    happened: list[str] = []
    store = SqliteStore(tmp_path, on_failure=lambda: happened.append("failure"))
    store.open()
    with pytest.raises(StoreError, match="could not be written"):
        await store.write(
            [Write.messages([(1, b"x")]), Write.messages([(1, b"again")])],
            then=lambda: happened.append("then"),
        )
    assert happened == ["failure"]
    store.close()
    assert _reopened(tmp_path).messages == []


async def test_after_a_failure_nothing_is_written_until_the_store_is_opened_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    twice = store.submit([Write.messages([(1, b"x"), (1, b"again")])])
    same_turn = store.submit([Write.messages([(2, b"x")])])
    await asyncio.wait({twice, same_turn})
    later = store.submit([Write.messages([(3, b"x")])])
    for lost in (twice, same_turn, later):
        with pytest.raises(StoreError, match="could not be written"):
            await lost
    store.close()
    assert store.open().messages == []
    await store.write([Write.messages([(4, b"x")])])
    store.close()
    assert _reopened(tmp_path).messages == [(4, b"x")]


async def test_long_log_is_moved_into_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    for n in range(10):
        await store.write([Write.messages([(n, bytes(1024 * 1024))])])
    store.close()
    assert len(_reopened(tmp_path).messages) == 10


async def test_closed_store_refuses_to_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.write(WRITES)


def _newer(path: Path) -> None:
    _reopened(path.parent)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE cats (name TEXT)")
    db.close()


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _truncated(path: Path) -> None:
    _reopened(path.parent)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_newer, "has version 99"),
        (_foreign, "is no store"),
        (_garbage, "damaged"),
        (_truncated, "damaged"),
    ],
)
def test_store_that_cannot_be_used_is_refused_and_not_touched(tmp_path: Path, spoil, says: str) -> None:
    path = tmp_path / "broker.sqlite"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=says):
        SqliteStore(tmp_path).open()
    assert path.read_bytes() == before


def test_second_broker_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    first.open()
    with pytest.raises(StoreError, match="in use by another broker"):
        SqliteStore(tmp_path).open()
    first.close()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="data-dir"):
        SqliteStore(tmp_path / "file" / "folder").open()


async def test_memory_store_keeps_nothing_and_does_what_comes_then() -> None:
    happened: list[str] = []
    store = MemoryStore()
    await store.write(WRITES, then=lambda: happened.append("then"))
    assert happened == ["then"]
    assert store.open().messages == ()
    store.close()
