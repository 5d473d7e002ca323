"""What HTTP answers: start, repeat, status, cancel, and everything that is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.unit.service.handlers import Work, make_service

from longcall.contract import PROBLEM_TYPE, CallState, CallStatus, Cancelled, Problem, Succeeded
from longcall.service import ServiceConfig
from longcall.transport.memory import MemoryBackend, MemoryTransport

if TYPE_CHECKING:
    from tests.unit.service.conftest import OpenDesk

TOPIC = "projects/p/topics/completions"


def problem(response: Response, status: int) -> Problem:
    """Check that the answer is a problem of this status; return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM_TYPE
    found = Problem.from_wire(response.json())
    assert found.status == status
    return found


def state(response: Response) -> CallState:
    return CallStatus.from_wire(response.json()).state


async def test_start_is_accepted_at_once_and_its_location_tells_how_it_stands(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        answer = await desk.start("/held", "a", body={"n": 1})
        assert (answer.status_code, state(answer)) == (202, CallState.ACCEPTED)
        await work.begun.wait()
        running = await desk.http.get(answer.headers["location"])
        assert (running.status_code, state(running)) == (200, CallState.RUNNING)
        work.released.set()
        assert await desk.completion("a") == Succeeded.of("released")
        ended = await desk.http.get(answer.headers["location"])
        assert CallStatus.from_wire(ended.json()).completion == Succeeded.of("released")


async def test_twenty_requests_at_once_with_one_id_start_once(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        answers = await asyncio.gather(*(desk.start("/held", "a", body=[1]) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.headers["location"] for answer in answers}) == 1
        work.released.set()
        await desk.completion("a")
        assert work.started == ["a"]
        repeat = await desk.start("/held", "a", body=[1])
        assert (repeat.status_code, state(repeat)) == (200, CallState.SUCCEEDED)
        assert work.started == ["a"]


@pytest.mark.parametrize(("path", "body"), [("/echo", {"n": 2}), ("/held", {"n": 1}), ("/echo", None)])
async def test_known_id_that_asks_for_something_else_is_refused(
    open_desk: OpenDesk, path: str, body: dict[str, int] | None
) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/echo", "a", body={"n": 1})
        assert "a new call needs a new id" in problem(await desk.start(path, "a", body=body), 422).detail


@pytest.mark.parametrize(
    ("target", "headers", "named"),
    [
        ("/echo", {}, "correlid"),
        ("/echo?correlid=", {}, "correlid"),
        ("/echo?correlid=with%20space", {}, "correlid"),
        ("/echo?correlid=" + "x" * 201, {}, "correlid"),
        ("/echo?correlid=a", {"Idempotency-Key": "b"}, "Idempotency-Key"),
        ("/echo?correlid=a", {"Longcall-Deadline": "soon"}, "Longcall-Deadline"),
        ("/echo?correlid=a", {"Longcall-Caller": "x" * 1001}, "Longcall-Caller"),
    ],
)
async def test_malformed_request_is_400_and_names_the_field(
    open_desk: OpenDesk, target: str, headers: dict[str, str], named: str
) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        assert named in problem(await desk.http.post(target, headers=headers), 400).detail
    assert work.started == []


async def test_body_above_the_limit_is_413(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work()), max_body_bytes=1000) as desk:
        problem(await desk.http.post("/echo?correlid=a", content=b"1" * 1001), 413)
        fits = await desk.http.post("/echo?correlid=a", content=b"1" * 1000)
        assert fits.status_code == 202


async def test_what_is_not_there_is_a_problem_too(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        problem(await desk.http.post("/nothing?correlid=a"), 404)
        problem(await desk.http.get("/calls/nobody"), 404)
        problem(await desk.http.delete("/calls/nobody"), 404)
        refused = await desk.http.get("/echo")
        problem(refused, 405)
        assert refused.headers["allow"] == "GET, HEAD, POST"


async def test_caller_that_missed_the_answer_finds_its_call_and_starts_nothing(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        problem(await desk.http.get("/held?correlid=a"), 404)
        started = await desk.start("/held", "a", body={"n": 1})
        found = await desk.http.get("/held?correlid=a")
        assert (found.status_code, found.headers["location"]) == (200, started.headers["location"])
        assert CallStatus.from_wire(found.json()).correlation_id == "a"
        problem(await desk.http.get("/echo?correlid=a"), 404)
        work.released.set()


async def test_delete_cancels_once_and_is_idempotent(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work)) as desk:
        location = (await desk.start("/held", "a")).headers["location"]
        await work.begun.wait()
        asked = await desk.http.delete(location)
        assert (asked.status_code, state(asked)) == (202, CallState.RUNNING)
        assert isinstance(await desk.completion("a"), Cancelled)
        again = await desk.http.delete(location)
        assert (again.status_code, state(again)) == (200, CallState.CANCELLED)
        await desk.start("/held", "b")
        work.released.set()
        await desk.completion("b")
    assert work.cancelled == [True, False]


async def test_call_that_waits_for_its_turn_is_cancelled_unstarted(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work), max_tasks=1) as desk:
        await desk.start("/held", "first")
        await work.begun.wait()
        second = await desk.start("/held", "second")
        await desk.http.delete(second.headers["location"])
        assert isinstance(await desk.completion("second"), Cancelled)
        assert work.started == ["first"]


async def test_full_service_says_503_and_still_knows_its_calls(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work), max_tasks=1, max_processes=1, max_waiting=1) as desk:
        for name in ("a", "b", "c"):
            assert (await desk.start("/held", name)).status_code == 202
        full = await desk.start("/held", "d")
        assert problem(full, 503).retryable
        assert int(full.headers["retry-after"]) > 0
        assert (await desk.start("/held", "a")).status_code == 202


async def test_stopping_service_refuses_new_calls_and_answers_for_the_known(open_desk: OpenDesk) -> None:
    work = Work()
    async with open_desk(make_service(work), drain_s=60) as desk:
        location = (await desk.start("/held", "known")).headers["location"]
        await work.begun.wait()
        stopping = asyncio.create_task(desk.running.stop())
        await asyncio.sleep(0)
        refused = await desk.start("/held", "new")
        assert problem(refused, 503).retryable
        assert "retry-after" in refused.headers
        assert (await desk.start("/held", "known")).status_code == 202
        work.released.set()
        await stopping
        assert state(await desk.http.get(location)) is CallState.SUCCEEDED
        assert await desk.completion("known") == Succeeded.of("released")


@pytest.mark.parametrize(
    "topic",
    [
        "projects/p/topics/other",
        "projects/other/topics/team-a-x",
        "replies",
        "projects/p/subscriptions/s",
        "projects/p/topics/team-a-x/y",
        "projects/p/topics/team-a-*",
    ],
)
async def test_reply_topic_that_is_not_allowed_is_refused(open_desk: OpenDesk, topic: str) -> None:
    allowed = ("projects/p/topics/exactly", "projects/p/topics/team-a-*")
    async with open_desk(make_service(Work()), reply_topics=allowed) as desk:
        answer = await desk.http.post("/echo?correlid=a", headers={"Longcall-Reply-Topic": topic})
        assert "Longcall-Reply-Topic" in problem(answer, 422).detail


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "../x", "manual__2026-01-01T00:00:00+00:00", "a?b#c", "%"])
async def test_any_correlation_id_has_its_own_location(open_desk: OpenDesk, name: str) -> None:
    async with open_desk(make_service(Work())) as desk:
        answer = await desk.http.post("/echo?correlid=" + quote(name, safe=""))
        assert answer.status_code == 202
        found = await desk.http.get(answer.headers["location"])
        assert CallStatus.from_wire(found.json()).correlation_id == name


async def test_probes_tell_a_process_that_answers_from_one_that_takes_calls(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        assert (await desk.http.get("/health")).status_code == 200
        assert (await desk.http.get("/ready")).status_code == 200
        await desk.running.stop()
        assert (await desk.http.get("/health")).status_code == 200
        refused = await desk.http.get("/ready")
        assert (refused.status_code, refused.json()["detail"]) == (503, "the service is stopping")


def mounting(app: Starlette) -> AsyncClient:
    """Return a client of an application that has `app` below `/jobs`."""
    outer = Starlette(routes=[Mount("/jobs", app)])
    return AsyncClient(transport=ASGITransport(app=outer), base_url="http://s")


async def test_mounted_service_gives_locations_below_its_mount() -> None:
    backend = MemoryBackend()
    transport = MemoryTransport(backend)
    await transport.create_topic(TOPIC)
    inner = make_service(Work()).asgi(
        ServiceConfig(topic=TOPIC, store="memory", drain_s=0), transport=transport
    )
    async with (
        inner.router.lifespan_context(inner),
        mounting(inner) as http,
    ):
        answer = await http.post("/jobs/echo?correlid=a")
        assert answer.headers["location"] == "/jobs/calls/a"
        assert (await http.get("/jobs/calls/a")).status_code == 200


async def test_mounted_service_whose_lifespan_did_not_run_says_so() -> None:
    inner = make_service(Work()).asgi(ServiceConfig(topic=TOPIC), transport=MemoryTransport(MemoryBackend()))
    async with mounting(inner) as http:
        assert "lifespan_context" in problem(await http.post("/jobs/echo?correlid=a"), 500).detail
