"""How much there is in the store, at each stage of some calls."""

from __future__ import annotations

from longcall.contract import CallRequest, Succeeded
from longcall.service.store import CallStore
from longcall.service.store.levels import Levels, read_levels
from longcall.testing.clock import VirtualClock

EMPTY = Levels(waiting={}, running={}, unpublished=0, oldest_unpublished_s=0.0)


async def _read(store: CallStore, clock: VirtualClock, *, later_s: float = 0.0) -> Levels:
    now_s = clock.now().timestamp() + later_s
    return await store._database.read(lambda db: read_levels(db, now_s=now_s))


async def test_levels_follow_the_calls(store: CallStore, clock: VirtualClock) -> None:
    assert await _read(store, clock) == EMPTY
    for number in range(3):
        await store.accept(CallRequest(correlation_id=f"call-{number}"), handler="/train", max_open=10)
    assert (await _read(store, clock)).waiting == {"/train": 3}

    works = [await store.claim({"/train"}, owner="me") for _ in range(2)]
    levels = await _read(store, clock)
    assert (levels.waiting, levels.running, levels.unpublished) == ({"/train": 1}, {"/train": 2}, 0)

    for work in works:
        assert work is not None
        await store.end(work.correlation_id, Succeeded.of(1), attempt=1, sequence=1)
        clock.advance(50)
    levels = await _read(store, clock)
    assert (levels.running, levels.unpublished) == ({}, 2)
    assert levels.oldest_unpublished_s == 100

    # A clock that was set back makes no age below zero.
    assert (await _read(store, clock, later_s=-1000)).oldest_unpublished_s == 0

    for work in works:
        assert work is not None
        await store.note_published(work.correlation_id)
    assert (await _read(store, clock)).unpublished == 0
