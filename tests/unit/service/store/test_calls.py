"""What is true about a call, and who may change it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.contract import (
    CallRequest,
    CallState,
    Cancelled,
    Completion,
    Failed,
    LogLine,
    Problem,
    Progress,
    SigningKey,
    Succeeded,
)
from longcall.service.errors import CallConflict, ServiceUnavailable, UnknownCall
from longcall.service.store import MEMORY, CallFilter, CallStore, Interrupted, StoredCall, open_store
from longcall.testing.clock import VirtualClock

DONE = Succeeded.of("done")
FAILED = Failed(problem=Problem(title="No such model", retryable=False))


async def accept(
    store: CallStore, name: str, *, body: bytes = b"", handler: str = "/h", max_open: int = 100
) -> bool:
    request = CallRequest(correlation_id=name, body=body)
    return (await store.accept(request, handler=handler, max_open=max_open))[1]


async def begin(store: CallStore, name: str, *, owner: str = "me") -> int:
    """Accept a call and claim it; return its attempt."""
    await accept(store, name)
    work = await store.claim(["/h"], owner=owner)
    assert work is not None
    assert work.correlation_id == name
    return work.attempt


async def run(store: CallStore, name: str, completion: Completion = DONE, *, publish: bool = True) -> None:
    """Carry a call through its whole life."""
    attempt = await begin(store, name)
    assert await store.end(name, completion, attempt=attempt, sequence=3)
    if publish:
        await store.note_published(name)


async def find(store: CallStore, name: str) -> StoredCall:
    found = await store.get(name)
    assert found is not None
    return found


async def due(store: CallStore) -> list[str]:
    return [each.correlation_id for each in await store.due(limit=100, but=(), not_to=())]


async def test_call_lives_through_its_states(store: CallStore, clock: VirtualClock) -> None:
    assert await accept(store, "a", body=b"{}")
    status = (await find(store, "a")).status
    assert (status.state, status.attempt, status.accepted_time) == (CallState.ACCEPTED, 0, clock.now())
    clock.advance(5)
    work = await store.claim(["/h"], owner="me")
    assert work is not None
    assert (work.request.body, work.attempt, work.waited_s) == (b"{}", 1, 5)
    assert await store.beat("a", attempt=1, progress=Progress(done=1, total=2, unit="steps"))
    status = (await find(store, "a")).status
    assert (status.state, status.attempt, status.heartbeat_time) == (CallState.RUNNING, 1, clock.now())
    assert status.progress == Progress(done=1, total=2, unit="steps")
    clock.advance(5)
    assert await store.end("a", DONE, attempt=1, sequence=3)
    status = (await find(store, "a")).status
    assert (status.state, status.completion, status.ended_time) == (CallState.SUCCEEDED, DONE, clock.now())


@pytest.mark.parametrize("completion", [DONE, Succeeded(data=b"\0\xff"), FAILED, Cancelled(detail="why")])
async def test_completion_comes_back_as_it_went_in(store: CallStore, completion: Completion) -> None:
    await run(store, "a", completion, publish=False)
    (due,) = await store.due(limit=1, but=(), not_to=())
    report = due.report(source="/services/s")
    assert report.body == completion == (await find(store, "a")).status.completion
    assert (report.id, report.attempt, report.sequence) == ("a/1/3", 1, 3)
    (again,) = await store.due(limit=1, but=(), not_to=())
    assert again.report(source="/services/s") == report


async def test_repeat_is_the_same_call(store: CallStore) -> None:
    assert await accept(store, "a", body=b"1")
    assert not await accept(store, "a", body=b"1")
    assert await store.claim(["/h"], owner="me") is not None
    assert await store.claim(["/h"], owner="me") is None


async def test_of_fifty_at_once_one_is_new(store: CallStore) -> None:
    assert sum(await asyncio.gather(*(accept(store, "a") for _ in range(50)))) == 1


@pytest.mark.parametrize("other", [{"body": b"2"}, {"handler": "/other"}])
async def test_repeat_with_something_else_is_a_conflict(store: CallStore, other: dict[str, str]) -> None:
    await run(store, "a")
    with pytest.raises(CallConflict):
        await accept(store, "a", **{"body": b"1", **other})  # type: ignore[arg-type]


async def test_no_more_calls_are_open_than_may_be(store: CallStore) -> None:
    await run(store, "ended")
    for name in ("a", "b", "c"):
        await accept(store, name, max_open=3)
    with pytest.raises(ServiceUnavailable, match="too many"):
        await accept(store, "d", max_open=3)
    assert not await accept(store, "a", max_open=3)
    await store.cancel("a")
    assert await accept(store, "d", max_open=3)


async def test_calls_are_claimed_in_their_order_whatever_the_clock_does(
    store: CallStore, clock: VirtualClock
) -> None:
    for name in ("a", "b", "c"):
        await accept(store, name)
        clock.advance(-3600)
    claimed = [await store.claim(["/h"], owner="me") for _ in range(3)]
    assert [work.correlation_id for work in claimed if work] == ["a", "b", "c"]
    assert all(work.waited_s >= 0 for work in claimed if work)


async def test_only_what_the_handlers_can_do_is_claimed(store: CallStore) -> None:
    await accept(store, "a", handler="/old")
    await accept(store, "b", handler="/h")
    work = await store.claim(["/h", "/new"], owner="me")
    assert work is not None
    assert work.correlation_id == "b"
    assert await store.claim(["/h"], owner="me") is None


async def test_superseded_run_changes_nothing(store: CallStore) -> None:
    first = await begin(store, "a")
    assert await store.release("a", attempt=first)
    assert (await find(store, "a")).status.state is CallState.ACCEPTED
    assert not await store.beat("a", attempt=first, progress=None)
    work = await store.claim(["/h"], owner="you")
    assert work is not None
    assert work.attempt == first + 1
    assert not await store.beat("a", attempt=first, progress=Progress(done=9))
    assert not await store.end("a", FAILED, attempt=first, sequence=9)
    assert not await store.release("a", attempt=first)
    assert (await find(store, "a")).status.progress is None
    assert await store.end("a", DONE, attempt=work.attempt, sequence=1)
    assert not await store.end("a", FAILED, attempt=work.attempt, sequence=2)
    assert (await find(store, "a")).status.completion == DONE


async def test_waiting_call_is_cancelled_at_once_and_a_running_one_is_marked(store: CallStore) -> None:
    attempt = await begin(store, "runs")
    await accept(store, "waits")
    assert (await store.cancel("waits")).status.state is CallState.CANCELLED
    assert await due(store) == ["waits"]
    assert (await store.cancel("runs")).status.state is CallState.RUNNING
    assert await store.cancelled(owner="me") == {"runs": attempt}
    assert await store.cancelled(owner="you") == {}
    assert await store.end("runs", DONE, attempt=attempt, sequence=3)
    assert (await store.cancel("runs")).status.state is CallState.SUCCEEDED
    with pytest.raises(UnknownCall):
        await store.cancel("nobody")


async def test_released_call_whose_cancellation_was_asked_for_is_cancelled(store: CallStore) -> None:
    attempt = await begin(store, "a")
    await store.cancel("a")
    assert await store.release("a", attempt=attempt)
    assert (await find(store, "a")).status.state is CallState.CANCELLED
    assert await due(store) == ["a"]


async def test_dead_work_is_run_again_or_fails_as_its_handler_has_it(store: CallStore) -> None:
    for name, handler in (("a", "/again"), ("b", "/once"), ("c", "/again"), ("d", "/unknown")):
        await accept(store, name, handler=handler)
        await store.claim([handler], owner="dead")
    await accept(store, "waits")
    await store.cancel("c")
    found = await store.recover({"/again": "rerun", "/once": "fail"}, max_interruptions=3)
    assert found == Interrupted(rerun=("a", "d"), failed=("b",), cancelled=("c",))
    assert (await find(store, "a")).status.state is CallState.ACCEPTED
    failed = (await find(store, "b")).status.completion
    assert isinstance(failed, Failed)
    assert (failed.problem.code, failed.problem.retryable) == ("interrupted", True)
    assert sorted(await due(store)) == ["b", "c"]
    assert await store.recover({}, max_interruptions=3) == Interrupted()


async def test_work_that_dies_too_often_fails_for_good(store: CallStore) -> None:
    await accept(store, "a")
    for attempt in (1, 2):
        work = await store.claim(["/h"], owner="dead")
        assert work is not None
        assert work.attempt == attempt
        assert (await store.recover({"/h": "rerun"}, max_interruptions=3)).rerun == ("a",)
    await store.claim(["/h"], owner="dead")
    assert (await store.recover({"/h": "rerun"}, max_interruptions=3)).failed == ("a",)
    failed = (await find(store, "a")).status.completion
    assert isinstance(failed, Failed)
    assert not failed.problem.retryable
    assert "3 times" in failed.problem.detail


async def test_handing_over_is_no_interruption(store: CallStore) -> None:
    await accept(store, "a")
    for attempt in range(1, 6):
        await store.claim(["/h"], owner="me")
        assert await store.release("a", attempt=attempt)
    await store.claim(["/h"], owner="dead")
    assert (await store.recover({"/h": "rerun"}, max_interruptions=2)).rerun == ("a",)


async def test_due_leaves_out_what_is_held_and_topics_that_are_paused(store: CallStore) -> None:
    for name, topic in (("a", ""), ("b", "projects/p/topics/mine"), ("c", "")):
        await store.accept(CallRequest(correlation_id=name, reply_topic=topic), handler="/h", max_open=9)
        await store.cancel(name)
    found = await store.due(limit=9, but={"a"}, not_to={""})
    assert [each.correlation_id for each in found] == ["b"]
    assert [each.correlation_id for each in await store.due(limit=1, but={"a"}, not_to=())] == ["b"]
    assert await store.count_due() == 3
    await store.note_published("b")
    assert await due(store) == ["a", "c"]


async def test_completion_that_no_message_carries_is_replaced(store: CallStore) -> None:
    await run(store, "a", Succeeded(data=b"x" * 100), publish=False)
    (each,) = await store.due(limit=1, but=(), not_to=())
    await store.replace_completion(each, FAILED)
    (again,) = await store.due(limit=1, but=(), not_to=())
    assert (again.completion, again.sequence) == (FAILED, each.sequence)


async def test_list_is_newest_first_in_pages_and_filtered(store: CallStore, clock: VirtualClock) -> None:
    await run(store, "a", FAILED)
    clock.advance(60)
    since = clock.now()
    await accept(store, "b", handler="/other")
    await begin(store, "c")
    names = [call.correlation_id for call in await store.find(CallFilter())]
    assert names == ["c", "b", "a"]
    page = await store.find(CallFilter(), limit=2)
    rest = await store.find(CallFilter(), limit=2, before=page[-1].number)
    assert [call.correlation_id for call in rest] == ["a"]
    assert rest[0].title == "No such model"
    for wanted, expected in (
        (CallFilter(state=CallState.FAILED), ["a"]),
        (CallFilter(handler="/other"), ["b"]),
        (CallFilter(accepted_since=since), ["c", "b"]),
        (CallFilter(accepted_since=since, state=CallState.RUNNING), ["c"]),
    ):
        assert [call.correlation_id for call in await store.find(wanted)] == expected
    assert await store.counts() == {CallState.FAILED: 1, CallState.ACCEPTED: 1, CallState.RUNNING: 1}


async def test_ended_calls_are_forgotten_after_their_time_and_others_never(
    store: CallStore, clock: VirtualClock
) -> None:
    await run(store, "ended")
    await run(store, "unpublished", publish=False)
    await begin(store, "runs")
    limits = {"max_ended": 10, "max_age_s": 60.0, "max_bytes": 1000}
    clock.advance(60)
    assert await store.forget(**limits) == 0  # type: ignore[arg-type]
    clock.advance(1)
    assert await store.forget(**limits) == 1  # type: ignore[arg-type]
    assert await store.get("ended") is None
    assert await store.get("unpublished") is not None
    assert await store.get("runs") is not None
    assert await accept(store, "ended")


@given(
    ends=st.lists(st.binary(max_size=50) | st.none(), max_size=20),
    max_ended=st.integers(1, 10),
    max_bytes=st.integers(50, 200),
)
async def test_the_latest_ended_calls_are_kept_within_both_limits(
    ends: list[bytes | None], max_ended: int, max_bytes: int
) -> None:
    clock = VirtualClock()
    store = open_store(MEMORY, service="s", clock=clock)
    for number, data in enumerate(ends):
        await run(store, str(number), FAILED if data is None else Succeeded(data=data))
        clock.advance(1)
    await store.forget(max_ended=max_ended, max_age_s=1000, max_bytes=max_bytes)
    sizes = [len(data or b"") for data in ends]
    kept = [n for n in range(len(ends)) if await store.get(str(n)) is not None]
    await store.aclose()
    assert kept == list(range(len(ends) - len(kept), len(ends)))  # the latest
    assert len(kept) <= max_ended
    assert sum(sizes[n] for n in kept) <= max_bytes
    if len(kept) < min(max_ended, len(ends)):  # and no fewer than need be
        assert sum(sizes[len(ends) - len(kept) - 1 :]) > max_bytes


async def test_instants_survive(store: CallStore) -> None:
    deadline = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=1)
    request = CallRequest(correlation_id="a", deadline=deadline, traceparent="t", content_type="text/plain")
    await store.accept(request, handler="/h", max_open=1)
    work = await store.claim(["/h"], owner="me")
    assert work is not None
    assert work.request == request


def lines(*messages: str) -> list[LogLine]:
    return [LogLine(message=message) for message in messages]


async def log_of(store: CallStore, name: str, *, after: int = 0) -> list[tuple[int, int, str]]:
    found = await store.log_of(name, after=after)
    return [(stored.number, stored.attempt, stored.line.message) for stored in found]


async def test_log_is_kept_with_number_and_attempt(store: CallStore, clock: VirtualClock) -> None:
    line = LogLine(message="hot ♨", level="warning", time=clock.now())
    assert await store.beat("a", attempt=await begin(store, "a"), progress=None, lines=[line, *lines("b")])
    await begin(store, "other")
    await store.recover({}, max_interruptions=9, only="a")
    again = await store.claim_call("a", owner="me")
    assert again is not None
    assert not await store.beat("a", attempt=1, progress=None, lines=lines("of a dead run"))
    assert await store.beat("a", attempt=2, progress=None, lines=lines("c"))
    assert await log_of(store, "a") == [(1, 1, "hot ♨"), (2, 1, "b"), (3, 2, "c")]
    assert await log_of(store, "a", after=1) == [(2, 1, "b"), (3, 2, "c")]
    assert await log_of(store, "a", after=3) == []
    assert await log_of(store, "other") == []
    assert (await store.log_of("a"))[0].line == line


@pytest.mark.parametrize(("size", "at_once", "most"), [(1, 7, 1000), (8000, 3, 31)])
async def test_of_a_long_log_the_end_is_kept(store: CallStore, size: int, at_once: int, most: int) -> None:
    attempt = await begin(store, "a")
    for _ in range(200):
        await store.beat("a", attempt=attempt, progress=None, lines=lines(*["x" * size] * at_once))
    numbers = [number for number, _, _ in await log_of(store, "a")]
    assert numbers == list(range(numbers[0], 200 * at_once + 1))
    assert most - at_once - 3 <= len(numbers) <= most


async def test_log_counts_as_room_and_goes_with_its_call(store: CallStore) -> None:
    for name in ("a", "b"):
        attempt = await begin(store, name)
        await store.beat(name, attempt=attempt, progress=None, lines=lines("x" * 100))
        await store.end(name, FAILED, attempt=attempt, sequence=3)
        await store.note_published(name)
    assert await store.forget(max_ended=10, max_age_s=60, max_bytes=200) == 1
    assert await store.get("a") is None
    assert await log_of(store, "a") == []
    assert len(await log_of(store, "b")) == 1
    await accept(store, "a")
    assert await log_of(store, "a") == []


async def test_signing_keys_are_kept_until_the_completion_is_out(store: CallStore) -> None:
    keys = tuple(SigningKey(bytes([n]) * 32) for n in range(6))
    for key in (keys[0], keys[0], *keys[1:]):
        request = CallRequest(correlation_id="a", signing_keys=(key,))
        await store.accept(request, handler="/h", max_open=9)
    work = await store.claim(["/h"], owner="me")
    assert work is not None
    assert work.request.signing_keys == keys[2:]  # of many the newest
    await store.end("a", DONE, attempt=1, sequence=3)
    (completion,) = await store.due(limit=9, but=(), not_to=())
    assert completion.signing_keys == keys[2:]
    other = CallRequest(correlation_id="a", body=b"other", signing_keys=(keys[0],))
    with pytest.raises(CallConflict):
        await store.accept(other, handler="/h", max_open=9)
    (completion,) = await store.due(limit=9, but=(), not_to=())
    assert completion.signing_keys == keys[2:]  # a stranger's are not added
    await store.note_published("a")
    await store.accept(CallRequest(correlation_id="a", signing_keys=keys[:1]), handler="/h", max_open=9)


async def test_key_is_gone_once_the_completion_is_out(tmp_path: Path) -> None:
    key = SigningKey.new()
    store = open_store(str(tmp_path), service="s", clock=VirtualClock())
    await store.accept(CallRequest(correlation_id="a", signing_keys=(key,)), handler="/h", max_open=9)
    await store.claim(["/h"], owner="me")
    await store.end("a", DONE, attempt=1, sequence=3)
    await store.note_published("a")
    await store.aclose()
    (path,) = tmp_path.rglob("*.db")  # noqa: ASYNC240 # a test may wait
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT signing_keys FROM longcall_calls").fetchall() == [("",)]
