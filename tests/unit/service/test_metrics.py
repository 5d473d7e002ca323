"""What Prometheus is told: counted as it happens, asked of the store, bounded in number."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from httpx2 import ASGITransport, AsyncClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from longcall.contract import CallState, Progress
from longcall.service.errors import StoreUnavailable
from longcall.service.metrics import PrometheusObserver, ReadLevels, make_observer, metrics_routes
from longcall.service.observer import NullObserver, Observer, report_kind
from longcall.service.request_counts import CountRequests
from longcall.service.store.levels import Levels
from longcall.transport.errors import TopicNotFound, TransportUnavailable

EMPTY = Levels(waiting={}, running={}, unpublished=0, oldest_unpublished_s=0.0)
Sample = tuple[str, frozenset[str]]


@pytest.fixture
def observer() -> PrometheusObserver:
    return PrometheusObserver(["/train", "/serve"])


def samples(observer: PrometheusObserver, levels: Levels | None = EMPTY) -> dict[Sample, float]:
    """Return each sample by its name and its labels' values."""
    text = observer.encode(levels)[0].decode()
    families = parse_text(text)
    return {(s.name, frozenset(s.labels.values())): s.value for family in families for s in family.samples}


def key(name: str, *labels: str) -> Sample:
    return f"longcall_{name}", frozenset(labels)


def test_handlers_begin_with_zero(observer: PrometheusObserver) -> None:
    found = samples(observer)

    assert found[key("calls_accepted_total", "/serve")] == 0
    assert found[key("calls_ended_total", "/serve", "failed")] == 0
    assert found[key("queue_duration_seconds_count", "/serve")] == 0
    assert found[key("reports_published_total", "succeeded")] == 0
    assert found[key("calls_waiting", "/serve")] == 0


def test_life_of_a_call_is_counted(observer: PrometheusObserver) -> None:
    observer.accepted("/train")
    observer.started("/train", waited_s=2.0)
    observer.interrupted("/train")
    observer.started("/train", waited_s=30.0)
    observer.ended("/train", state=CallState.FAILED, ran_s=120.0)
    observer.ended("/train", state=CallState.CANCELLED, ran_s=None)
    found = samples(observer)

    assert found[key("calls_accepted_total", "/train")] == 1
    assert found[key("attempts_started_total", "/train")] == 2
    assert found[key("attempts_interrupted_total", "/train")] == 1
    assert found[key("calls_ended_total", "/train", "failed")] == 1
    assert found[key("calls_ended_total", "/train", "cancelled")] == 1
    assert found[key("calls_ended_total", "/train", "succeeded")] == 0
    assert found[key("queue_duration_seconds_sum", "/train")] == 32
    assert found[key("queue_duration_seconds_bucket", "/train", "5.0")] == 1
    assert found[key("run_duration_seconds_sum", "/train", "failed")] == 120
    assert key("run_duration_seconds_sum", "/train", "cancelled") not in found


def test_clock_that_went_back_is_no_negative_duration(observer: PrometheusObserver) -> None:
    observer.started("/train", waited_s=-3.0)
    observer.ended("/train", state=CallState.SUCCEEDED, ran_s=-3.0)

    assert samples(observer)[key("queue_duration_seconds_sum", "/train")] == 0
    assert samples(observer)[key("run_duration_seconds_sum", "/train", "succeeded")] == 0


def test_publishing_is_counted(observer: PrometheusObserver) -> None:
    observer.published(report_kind(Progress(done=1)))
    observer.publish_failed("succeeded", TransportUnavailable("away"))
    observer.publish_failed("succeeded", TopicNotFound("projects/p/topics/t"))
    observer.publish_failed("succeeded", RuntimeError("what nobody thought of"))
    found = samples(observer)

    assert found[key("reports_published_total", "progress")] == 1
    for error in ("unavailable", "topic_not_found", "other"):
        assert found[key("publish_failures_total", "succeeded", error)] == 1


def test_levels_of_the_store_are_told(observer: PrometheusObserver) -> None:
    levels = Levels(
        waiting={"/train": 3, "/gone": 1, "/gone-too": 1},
        running={"/serve": 2},
        unpublished=5,
        oldest_unpublished_s=7.5,
    )
    found = samples(observer, levels)

    assert found[key("calls_waiting", "/train")] == 3
    assert found[key("calls_waiting", "/serve")] == 0
    assert found[key("calls_waiting", "other")] == 2
    assert found[key("calls_running", "/serve")] == 2
    assert found[key("completions_unpublished")] == 5
    assert found[key("completions_unpublished_age_seconds")] == 7.5
    assert found[key("store_up")] == 1


def test_silent_store_is_told_and_its_levels_are_not_made_up(observer: PrometheusObserver) -> None:
    found = samples(observer, None)

    assert found[key("store_up")] == 0
    assert key("completions_unpublished") not in found
    assert key("calls_waiting", "/train") not in found
    assert found[key("calls_accepted_total", "/train")] == 0


def test_number_of_series_is_bounded_whatever_callers_send(observer: PrometheusObserver) -> None:
    dice = random.Random(1)
    for _ in range(300):
        word = f"/{dice.random()}"
        observer.accepted(word)
        observer.started(word, waited_s=1)
        observer.ended(word, state=dice.choice([s for s in CallState if s.is_final]), ran_s=1)
        observer.published(word)
        observer.publish_failed(word, type(f"E{dice.random()}", (Exception,), {})())
        observer.answered(method=word, route="", status=404)

    labels = {value for _, values in samples(observer) for value in values}
    assert not [label for label in labels if label.startswith("/0.")]
    assert len(samples(observer)) < 250


def test_openmetrics_is_given_to_who_asks_for_it(observer: PrometheusObserver) -> None:
    content, type_ = observer.encode(EMPTY, accept="application/openmetrics-text; version=1.0.0")

    assert type_.startswith("application/openmetrics-text")
    assert [family for family in parse_openmetrics(content.decode()) if family.name == "longcall_build"]


def test_without_the_library_nothing_is_counted_and_there_is_no_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    observer = make_observer(["/train"])

    assert isinstance(observer, NullObserver)
    observer.accepted("/train")
    assert metrics_routes(observer, lambda _: _empty) == []


async def _empty() -> Levels:
    return EMPTY


# Over HTTP.


@asynccontextmanager
async def served(observer: Observer, read: ReadLevels = _empty) -> AsyncIterator[AsyncClient]:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("ok", int(request.query_params.get("status", "200")))

    async def start(request: Request) -> Response:
        return await answer(request)

    async def crash(_request: Request) -> Response:
        raise RuntimeError("as tested")

    routes = [
        Route("/train", start, methods=["POST"]),
        Route("/calls/{id:path}", answer),
        Route("/crash", crash),
        *metrics_routes(observer, lambda _: read),
    ]
    counting = Middleware(CountRequests, observer=observer, routes=routes)
    app = Starlette(routes=[Mount("/jobs", app=Starlette(routes=routes, middleware=[counting]))])
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://service/jobs") as http:
        yield http


async def test_requests_are_counted_by_template_and_status(observer: PrometheusObserver) -> None:
    async with served(observer) as http:
        await http.post("/train?status=202")
        await http.get("/calls/an-id")
        await http.get("/calls/another-id?status=404")
        await http.get("/train")
        await http.get("/nowhere/at/all")
        await http.request("BREW", "/calls/coffee")
        assert (await http.get("/crash")).status_code == 500
        text = (await http.get("/metrics")).text

    counts = {
        (s.labels["method"], s.labels["route"], s.labels["status"])
        for family in parse_text(text)
        for s in family.samples
        if s.name == "longcall_http_requests_total"
    }
    assert counts == {
        ("POST", "/train", "202"),
        ("GET", "/calls/{id:path}", "200"),
        ("GET", "/calls/{id:path}", "404"),
        ("GET", "/train", "405"),
        ("GET", "other", "404"),
        ("other", "/calls/{id:path}", "405"),
        ("GET", "/crash", "500"),
    }


async def test_store_that_fails_leaves_the_rest_of_the_metrics(observer: PrometheusObserver) -> None:
    async def fails() -> Levels:
        raise StoreUnavailable("the disk is gone")

    async with served(observer, fails) as http:
        answer = await http.get("/metrics")

    assert answer.status_code == 200
    assert "longcall_store_up 0.0" in answer.text
    assert "longcall_calls_accepted_total" in answer.text


async def test_store_that_never_answers_does_not_keep_the_scrape(
    observer: PrometheusObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longcall.service.metrics._LEVELS_S", 0.01)

    async def hangs() -> Levels:
        await asyncio.Event().wait()
        return EMPTY

    async with served(observer, hangs) as http:
        assert "longcall_store_up 0.0" in (await http.get("/metrics")).text
