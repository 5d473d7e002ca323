"""How calls end, and what their callers hear of it."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.service.handlers import Work, make_service

from longcall._core.clock import SystemClock
from longcall.contract import (
    Accepted,
    CallRequest,
    CallStatus,
    Cancelled,
    Failed,
    Heartbeat,
    Problem,
    Progress,
    Succeeded,
    is_completion,
)
from longcall.service.errors import StoreUnavailable
from longcall.service.store import CallStore
from longcall.transport import InboxSpec
from longcall.transport.memory import MemoryTransport

if TYPE_CHECKING:
    from tests.unit.service.conftest import OpenDesk

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_arguments_come_in_and_the_result_goes_out(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/echo", "a", body={"model": "svc"})
        assert await desk.completion("a") == Succeeded.of({"arguments": {"model": "svc"}, "attempt": 1})
        await desk.http.post("/echo?correlid=b")
        assert await desk.completion("b") == Succeeded.of({"arguments": None, "attempt": 1})


async def test_bare_caller_with_a_text_body_gets_bytes(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post("/serve?correlid=a", content=b"hello", headers={"Content-Type": "text/plain"})
        assert await desk.completion("a") == Succeeded(data=b"HELLO", content_type="text/plain")


async def test_body_that_is_no_json_fails_the_call_that_reads_arguments(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post("/echo?correlid=a", content=b"{")
        completion = await desk.completion("a")
        assert isinstance(completion, Failed)
        assert (completion.problem.code, completion.problem.retryable) == ("arguments", False)


async def test_reports_are_numbered_named_and_traced(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post("/steps?correlid=a", headers={"traceparent": TRACE})
        reports = await desk.reports("a")
    assert isinstance(reports[0].body, Accepted)
    assert [report.body for report in reports[1:-1]] == [
        Progress(done=1000, total=1000, unit="steps", message="all done")
    ]
    assert [report.sequence for report in reports] == [1, 2, 3]
    assert len({report.id for report in reports}) == len(reports)
    assert {(report.source, report.attempt, report.traceparent) for report in reports} == {
        ("/services/tests", 1, TRACE)
    }
    assert all(report.time is not None for report in reports)


@pytest.mark.parametrize("trace", ["nonsense", "x" * 2000, TRACE + "\t"])
async def test_trace_that_is_none_is_left_out_and_harms_nothing(open_desk: OpenDesk, trace: str) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post("/echo?correlid=a", headers={"traceparent": trace})
        assert {report.traceparent for report in await desk.reports("a")} == {""}


async def test_failure_in_the_handlers_own_words_arrives_unchanged(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/refuses", "a")
        assert await desk.completion("a") == Failed(
            problem=Problem(
                title="Unknown model",
                detail="there is no 'gpt-0'",
                code="model",
                retryable=False,
                retry_after_ms=1500,
            )
        )


async def test_exception_becomes_a_retryable_failure_and_its_traceback_stays_here(
    open_desk: OpenDesk, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/fails", "a")
        reports = await desk.reports("a")
    problem = Problem(title="RuntimeError", detail="the disk of node 7 is full")
    assert reports[-1].body == Failed(problem=problem)
    assert problem.retryable
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("path", "title", "detail"),
    [
        ("/exits", "SystemExit", "enough"),
        ("/cancels-itself", "CancelledError", "nobody had asked"),
        ("/undecodable", "FileNotFoundError", r"no file \udcff"),
        ("/wordy", "ValueError", "xxx"),
    ],
)
async def test_however_a_handler_ends_its_caller_hears_of_it(
    open_desk: OpenDesk, path: str, title: str, detail: str
) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start(path, "a")
        completion = await desk.completion("a")
        assert isinstance(completion, Failed)
        assert completion.problem.title == title
        assert detail in completion.problem.detail
        assert completion.problem.retryable
        assert (await desk.start("/echo", "b")).status_code == 202  # and the service lives on


@pytest.mark.parametrize("path", ["/not-json", "/not-a-number", "/too-large", "/says-json"])
async def test_result_that_cannot_be_published_is_a_failure_for_good_everywhere(
    open_desk: OpenDesk, path: str
) -> None:
    async with open_desk(make_service(Work())) as desk:
        location = (await desk.start(path, "a")).headers["location"]
        completion = await desk.completion("a")
        assert isinstance(completion, Failed)
        assert (completion.problem.code, completion.problem.retryable) == ("result", False)
        status = CallStatus.from_wire((await desk.http.get(location)).json())
        assert status.completion == completion


async def test_quiet_call_sends_heartbeats(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work), heartbeat_s=0.01, progress_interval_s=0.01) as desk:
        await desk.start("/held", "a")
        while not any(isinstance(report.body, Heartbeat) for report in desk.heard):
            await desk.hear()
        work.released.set()
        assert is_completion((await desk.reports("a"))[-1].body)


async def test_reply_topic_that_is_allowed_gets_the_reports(open_desk: OpenDesk) -> None:
    topic, inbox = "projects/p/topics/mine", "projects/p/subscriptions/mine"
    async with open_desk(make_service(Work()), reply_topics=("projects/p/topics/mi*",)) as desk:
        transport = MemoryTransport(desk.backend)
        await transport.create_topic(topic)
        await transport.create_inbox(InboxSpec(name=inbox, topic=topic, filter=""))
        await desk.http.post("/echo?correlid=a", headers={"Longcall-Reply-Topic": topic})
        async with transport.open_stream(inbox, lease_s=600) as stream:
            delivery = await anext(aiter(stream))
        assert delivery.message.attributes["correlid"] == "a"
        await transport.aclose()


async def test_stopped_service_fails_what_it_could_not_end(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work), max_tasks=1) as desk:
        for name in ("runs", "waits"):
            await desk.start("/held", name)
        await work.begun.wait()
        await desk.running.stop()
        for name in ("runs", "waits"):
            completion = await desk.completion(name)
            assert isinstance(completion, Failed)
            assert (completion.problem.title, completion.problem.retryable) == ("The service stopped", True)


async def test_call_that_is_cancelled_in_the_same_instant_still_ends(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        await desk.running.calls.accept(CallRequest(correlation_id="a"), path="/held")
        await desk.running.calls.cancel("a")
        assert isinstance(await desk.completion("a"), Cancelled)


async def test_neither_arguments_nor_results_are_logged(
    open_desk: OpenDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="longcall")
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/echo", "a", body={"password": "swordfish"})
        assert "swordfish" in json.dumps((await desk.completion("a")).value())  # type: ignore[union-attr]
    assert "Call a: attempt 1 succeeded" in caplog.text
    assert "swordfish" not in caplog.text


class UnsteadyClock(SystemClock):
    """A wall clock that somebody sets."""

    off: timedelta = timedelta()

    def now(self) -> datetime:
        return super().now() + self.off


async def test_wall_clock_that_jumps_changes_dates_and_nothing_else(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    clock, work = UnsteadyClock(), Work()
    async with open_desk(make_service(work), clock=clock, store=str(tmp_path), heartbeat_s=0.05) as desk:
        await desk.start("/held", "a")
        await work.begun.wait()
        for name, days in (("b", -400), ("c", 3)):
            clock.off = timedelta(days=days)
            await desk.start("/echo", name)
            assert isinstance(await desk.completion(name), Succeeded)
        while not any(isinstance(report.body, Heartbeat) for report in desk.heard):
            await desk.hear()
        work.released.set()
        assert await desk.completion("a") == Succeeded.of("released")
        listed = (await desk.http.get("/calls")).json()["calls"]
    assert [call["correlid"] for call in listed] == ["c", "b", "a"]


async def test_outcome_that_meets_a_defect_is_heard_of_and_holds_up_nothing_else(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really_end = CallStore.end

    async def end(self: CallStore, correlation_id: str, *what: Any, **about: Any) -> bool:
        if correlation_id == "a":
            raise TypeError("a defect")
        return await really_end(self, correlation_id, *what, **about)

    monkeypatch.setattr(CallStore, "end", end)
    async with open_desk(make_service(Work()), max_tasks=1) as desk:
        await desk.start("/echo", "a")
        await desk.start("/echo", "b")
        assert isinstance(await desk.completion("b"), Succeeded)
    assert "Call a: its outcome cannot be stored" in caplog.text


async def test_outcome_waits_for_a_store_that_is_away(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really_end, is_away = CallStore.end, True

    async def end(self: CallStore, *what: Any, **about: Any) -> bool:
        nonlocal is_away
        if is_away:
            is_away = False
            raise StoreUnavailable("no room on the disk")
        return await really_end(self, *what, **about)

    monkeypatch.setattr(CallStore, "end", end)
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/echo", "a")
        completion = await desk.completion("a")
    assert isinstance(completion, Succeeded)
    value = completion.value()
    assert isinstance(value, dict)
    assert value["attempt"] == 1
    assert "Call a: its outcome waits: no room on the disk" in caplog.text
