"""A handler in a process of its own: whatever becomes of the process, the call has an outcome."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.e2e.processes import wait_until_gone

from longcall.contract import CallRequest, Log, Progress, Succeeded
from longcall.service import CallFailed
from longcall.service.call import MAX_RESULT_BYTES
from longcall.service.process import run_in_process

HERE = Path(__file__).parent
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


async def run(handler: str, body: bytes = b"", *, progress: list[Progress] | None = None) -> Succeeded:
    request = CallRequest(correlation_id="a", body=body)
    reported = progress if progress is not None else []

    def on_report(report: Progress | Log) -> None:
        if isinstance(report, Progress):
            reported.append(report)

    return await asyncio.wait_for(
        run_in_process(
            f"workers:{handler}", request, attempt=1, on_report=on_report, max_result_bytes=MAX_RESULT_BYTES
        ),
        WAIT_S,
    )


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
async def _nothing_is_left_open() -> AsyncIterator[None]:
    before = open_descriptors()
    yield
    for _ in range(10):  # transports close in the next turns of the loop
        await asyncio.sleep(0)
    assert open_descriptors() <= before


async def test_result_comes_back() -> None:
    value = (await run("echo", b'{"n": 1}')).value()
    assert isinstance(value, dict)
    assert value["arguments"] == {"n": 1}
    assert value["pid"] != os.getpid()


async def test_bytes_come_back_up_to_what_a_message_takes() -> None:
    assert len((await run("large", b"9990000")).data) == 9_990_000
    with pytest.raises(CallFailed, match="start the service with --results-url") as raised:
        await run("large", b"9990001")
    assert not raised.value.retryable


async def test_last_progress_comes_before_the_result_and_few_of_the_others_do() -> None:
    progress: list[Progress] = []
    await run("steps", progress=progress)
    assert progress[-1] == Progress(done=100_000, total=100_000, message="all done")
    assert len(progress) < 1000
    assert [p.done for p in progress] == sorted(p.done for p in progress)


async def test_handlers_words_are_kept() -> None:
    with pytest.raises(CallFailed) as raised:
        await run("refuses")
    problem = raised.value.problem
    assert (problem.title, problem.detail, problem.code) == ("Unknown model", "there is no 'gpt-0'", "model")
    assert not problem.retryable
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("handler", "detail"),
    [("dies", "SIGKILL"), ("dies_childful", "SIGKILL"), ("exits", "exit status 7")],
)
async def test_process_that_ends_without_an_answer_fails_its_call(handler: str, detail: str) -> None:
    with pytest.raises(CallFailed, match="The worker process died") as raised:
        await run(handler)
    assert raised.value.retryable
    assert detail in raised.value.problem.detail


async def test_handler_that_reads_its_input_finds_none() -> None:
    assert (await run("reads_input")).value() == ""


async def test_result_counts_although_the_process_does_not_end_by_itself() -> None:
    assert (await run("leaves_a_thread")).value() == "returned"


async def test_asynchronous_handler_may_have_a_process_of_its_own() -> None:
    assert (await run("awaits")).value() != os.getpid()


async def test_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    with pytest.raises(CallFailed, match="CancelledError"):
        await run("gives_up")


async def _spinning(handler: str, body: bytes = b"") -> tuple[asyncio.Task[Succeeded], int]:
    """Start a handler that never ends; return its task and process id."""
    reported: asyncio.Queue[Progress | Log] = asyncio.Queue()
    request = CallRequest(correlation_id="a", body=body)
    task = asyncio.create_task(
        run_in_process(
            f"workers:{handler}",
            request,
            attempt=1,
            on_report=reported.put_nowait,
            max_result_bytes=MAX_RESULT_BYTES,
        )
    )
    progress = await asyncio.wait_for(reported.get(), WAIT_S)
    assert isinstance(progress, Progress)
    return task, int(progress.message)


@pytest.mark.parametrize("handler", ["spin", "stubborn"])
async def test_cancelling_ends_a_busy_process(handler: str) -> None:
    task, pid = await _spinning(handler)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, WAIT_S)
    wait_until_gone(pid)


async def test_cancelling_cancels_an_asynchronous_handler(tmp_path: Path) -> None:
    told = tmp_path / "told"
    task, pid = await _spinning("awaits", json.dumps(str(told)).encode())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, WAIT_S)
    wait_until_gone(pid)
    assert told.read_text() == "cancelled: True"


async def test_process_that_cannot_be_started_fails_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(CallFailed, match="The worker process did not start") as raised:
        await run("echo")
    assert raised.value.retryable
