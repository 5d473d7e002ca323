"""Results that are too large for a message go by reference, and are taken away in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.service.large import ELSEWHERE, service

from longcall._core.clock import SystemClock
from longcall.client import ResultAccess, fetch_result
from longcall.contract import CallRequest, CallStatus, Failed, Succeeded
from longcall.service import ServiceConfig, ServiceConfigError
from longcall.service.results import ResultFiles
from longcall.service.store import open_store
from longcall.testing.clock import VirtualClock

if TYPE_CHECKING:
    from tests.unit.service.conftest import Desk, OpenDesk

TOPIC = "projects/p/topics/completions"
LARGE = 12_000_000


def count(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def started(desk: Desk, path: str, size: int = LARGE) -> str:
    answer = await desk.http.post(f"{path}?correlid=a", content="" if path == "/command" else str(size))
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


async def succeeded(desk: Desk, path: str, size: int = LARGE) -> Succeeded:
    location = await started(desk, path, size)
    completion = await desk.completion("a")
    status = CallStatus.from_wire((await desk.http.get(location)).json())
    assert status.completion == completion
    assert isinstance(completion, Succeeded), completion
    return completion


@pytest.mark.parametrize("path", ["/async", "/process", "/command"])
async def test_result_that_no_message_takes_goes_by_reference(
    open_desk: OpenDesk, tmp_path: Path, path: str
) -> None:
    url = f"file://{tmp_path}/results"
    async with open_desk(service, results_url=url) as desk:
        result = await succeeded(desk, path)
        page = (await desk.http.get("/calls/a", headers={"Accept": "text/html"})).text
    assert result.reference is not None
    assert result.reference.url in page
    assert "?result" not in page
    assert result.reference.expires_time is not None
    assert "a" not in result.reference.url.removeprefix(url).partition(".")[0].split("/")
    fetched = fetch_result(result, ResultAccess(prefixes=(url,)))
    assert (len(fetched.data), fetched.data[:1], fetched.content_type) == (LARGE, b"x", result.content_type)


@pytest.mark.parametrize(("size", "is_inline"), [(1000, True), (1001, False)])
async def test_service_says_from_which_size_on(
    open_desk: OpenDesk, tmp_path: Path, size: int, is_inline: bool
) -> None:
    async with open_desk(service, results_url=f"file://{tmp_path}", result_limit_bytes=1000) as desk:
        result = await succeeded(desk, "/async", size)
    assert (result.reference is None) == is_inline
    assert count(tmp_path) == (0 if is_inline else 1)


@pytest.mark.parametrize("path", ["/async", "/process", "/command"])
async def test_without_a_place_for_it_such_a_result_is_a_failure_that_names_the_remedy(
    open_desk: OpenDesk, path: str
) -> None:
    async with open_desk(service) as desk:
        await started(desk, path)
        completion = await desk.completion("a")
    assert isinstance(completion, Failed)
    assert (completion.problem.code, completion.problem.retryable) == ("result", False)
    assert "--results-url" in completion.problem.detail


@pytest.mark.parametrize("path", ["/elsewhere", "/elsewhere-process"])
async def test_handler_may_say_itself_where_its_result_lies(open_desk: OpenDesk, path: str) -> None:
    async with open_desk(service) as desk:
        assert await succeeded(desk, path) == Succeeded(reference=ELSEWHERE, content_type="image/png")


@pytest.mark.parametrize("path", ["/nowhere", "/both"])
async def test_reference_that_nobody_could_follow_is_a_bad_result(open_desk: OpenDesk, path: str) -> None:
    async with open_desk(service) as desk:
        await started(desk, path)
        completion = await desk.completion("a")
    assert isinstance(completion, Failed)
    assert (completion.problem.code, completion.problem.retryable) == ("result", False)


async def test_result_that_cannot_be_put_there_fails_its_call_which_may_be_tried_again(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    async with open_desk(service, results_url=f"file://{tmp_path}/file/x") as desk:
        await started(desk, "/async")
        completion = await desk.completion("a")
    assert isinstance(completion, Failed)
    assert (completion.problem.code, completion.problem.retryable) == ("result-store", True)


async def test_result_is_taken_away_when_its_time_is_over(open_desk: OpenDesk, tmp_path: Path) -> None:
    settings = {"results_url": f"file://{tmp_path}", "result_lifetime_s": 0.2}
    async with open_desk(service, **settings) as desk:  # type: ignore[arg-type] # settings of any type
        await succeeded(desk, "/async")
        async with asyncio.timeout(30):
            while count(tmp_path):  # noqa: ASYNC110 # a folder has no event
                await asyncio.sleep(0.01)


async def test_file_of_a_run_that_was_killed_is_replaced_by_a_repeat_and_taken_away(tmp_path: Path) -> None:
    """Killed after the file is written, before the outcome is: the next process finds the note."""
    clock, folder = VirtualClock(), tmp_path / "results"
    config = ServiceConfig(topic=TOPIC, results_url=f"file://{folder}", result_limit_bytes=1)
    result = Succeeded(data=b"half", content_type="text/plain")
    store = open_store(str(tmp_path / "store"), service="s", clock=SystemClock())
    await store.accept(CallRequest(correlation_id="a"), handler="/x", max_open=9)
    work = await store.claim(["/x"], owner="me")
    assert work is not None
    killed = await ResultFiles(store, config, service="s", clock=clock).put(work, result)
    await store.aclose()

    store = open_store(str(tmp_path / "store"), service="s", clock=clock)
    files = ResultFiles(store, config, service="s", clock=clock)
    whole = Succeeded(data=b"whole", content_type="text/plain")
    again = await files.put(work, whole)
    assert killed.reference is not None
    assert again.reference is not None
    assert again.reference.url == killed.reference.url
    assert fetch_result(again, ResultAccess(prefixes=(f"file://{folder}",))) == whole

    await files.remove_expired()
    assert count(folder) == 1
    clock.advance(timedelta(days=8).total_seconds())
    await files.remove_expired()
    assert count(folder) == 0
    assert not await store.expired_files()
    await store.aclose()


async def test_file_that_cannot_be_deleted_stays_on_the_list(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = open_store("memory", service="s", clock=clock)
    config = ServiceConfig(topic=TOPIC, results_url=f"file://{tmp_path}")
    (tmp_path / "folder").mkdir()
    await store.note_file(f"file://{tmp_path}/folder", expires_time=clock.now())
    await store.note_file(f"file://{tmp_path}/gone", expires_time=clock.now())

    await ResultFiles(store, config, service="s", clock=clock).remove_expired()

    assert await store.expired_files() == [f"file://{tmp_path}/folder"]
    await store.aclose()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"results_url": "results"}, "results_url"),
        ({"results_url": "gs://b/x?y"}, "results_url"),
        ({"result_limit_bytes": 5}, "--results-url"),
        ({"results_url": "gs://b", "result_limit_bytes": 10_000_000}, "result_limit"),
        ({"results_url": "gs://b", "result_lifetime_s": 0}, "result_lifetime_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ServiceConfigError, match=says):
        ServiceConfig(topic=TOPIC, **settings)  # type: ignore[arg-type] # on purpose


async def test_url_that_nothing_here_can_write_to_is_refused_at_the_start(open_desk: OpenDesk) -> None:
    with pytest.raises(ServiceConfigError, match="results_url"):
        async with open_desk(service, results_url="nonsense://x"):
            pass
