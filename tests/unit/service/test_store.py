"""Which calls the memory store knows, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.contract import CallRequest, CallState, Cancelled, Failed, Problem, Progress, Succeeded
from longcall.service.errors import CallConflict
from longcall.service.store import MemoryCallStore
from longcall.testing.clock import VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DONE = Succeeded.of("done")


async def accept(store: MemoryCallStore, name: str, *, body: bytes = b"", handler: str = "/h") -> bool:
    _, is_new = await store.accept(CallRequest(correlation_id=name, body=body), handler=handler)
    return is_new


async def known(store: MemoryCallStore, *names: str) -> list[str]:
    return [name for name in names if await store.get(name) is not None]


async def test_repeat_is_the_same_call() -> None:
    store = MemoryCallStore()
    assert await accept(store, "a")
    assert not await accept(store, "a")
    assert await store.start("a", now=NOW) == 1
    found = await store.get("a")
    assert found is not None
    assert (found.status.state, found.status.heartbeat_time) == (CallState.RUNNING, NOW)


@pytest.mark.parametrize("other", [{"body": b"2"}, {"handler": "/other"}])
async def test_repeat_with_something_else_is_a_conflict(other: dict[str, str]) -> None:
    store = MemoryCallStore()
    await accept(store, "a", body=b"1")
    with pytest.raises(CallConflict):
        await accept(store, "a", **{"body": b"1", **other})  # type: ignore[arg-type]


async def test_first_completion_stands() -> None:
    store = MemoryCallStore()
    await accept(store, "a")
    assert await store.end("a", DONE)
    assert not await store.end("a", Cancelled())
    await store.beat("a", now=NOW, progress=Progress(done=1))
    found = await store.get("a")
    assert found is not None
    assert (found.status.completion, found.status.progress) == (DONE, None)


async def test_ended_calls_are_forgotten_after_their_time_and_running_ones_never() -> None:
    clock = VirtualClock()
    store = MemoryCallStore(max_age_s=60, clock=clock)
    await accept(store, "runs")
    await accept(store, "ended")
    await store.end("ended", DONE)
    clock.advance(60)
    assert await known(store, "runs", "ended") == ["runs", "ended"]
    clock.advance(1)
    assert await known(store, "runs", "ended") == ["runs"]
    assert await accept(store, "ended")


async def test_results_that_take_too_much_room_push_out_the_oldest() -> None:
    store = MemoryCallStore(max_result_bytes=250)
    for name in ("a", "b", "c"):
        await accept(store, name)
        await store.end(name, Succeeded(data=b"x" * 100))
    assert await known(store, "a", "b", "c") == ["b", "c"]


@given(
    ends=st.lists(
        st.one_of(
            st.builds(Succeeded, data=st.binary(max_size=50)),
            st.just(Failed(problem=Problem(title="t"))),
            st.builds(Cancelled),
        ),
        max_size=30,
    ),
    max_ended=st.integers(1, 10),
    max_result_bytes=st.integers(50, 200),
)
async def test_the_latest_ended_calls_are_kept_within_both_limits(
    ends: list[Succeeded | Failed | Cancelled], max_ended: int, max_result_bytes: int
) -> None:
    store = MemoryCallStore(max_ended=max_ended, max_result_bytes=max_result_bytes)
    sizes = []
    for number, completion in enumerate(ends):
        await accept(store, str(number))
        await store.end(str(number), completion)
        sizes.append(len(completion.data) if isinstance(completion, Succeeded) else 0)
    kept = [n for n in range(len(ends)) if await store.get(str(n)) is not None]
    assert kept == list(range(len(ends) - len(kept), len(ends)))  # the latest
    assert len(kept) <= max_ended
    assert sum(sizes[n] for n in kept) <= max_result_bytes
    if len(kept) < min(max_ended, len(ends)):  # and no fewer than need be
        assert sum(sizes[kept[0] - 1 :] if kept else sizes[-1:]) > max_result_bytes
