"""The client for authors' tests of their handlers."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from longcall.contract import Accepted, CallState, Cancelled, Heartbeat, JsonValue, Progress, Succeeded
from longcall.service import Call, CallFailed, Service
from longcall.testing import RequestRefused, ServiceClient

service = Service("tested")
released = threading.Event()


@service.handler("/double")
def double(call: Call) -> JsonValue:
    assert isinstance(call.arguments, int)
    call.progress(1, 1)
    return call.arguments * 2


@service.handler("/typed")
def typed(model: str, call: Call, depth: int = 3) -> JsonValue:
    call.log(f"training {model}", level="debug")
    return [model, depth]


@service.handler("/fails")
async def fails(call: Call) -> JsonValue:
    raise CallFailed("No such model", code="model", retryable=False)


@service.handler("/night")
async def night(call: Call) -> JsonValue:
    await asyncio.sleep(8 * 3600)
    return "good morning"


@service.handler("/held")
def held(call: Call) -> JsonValue:
    released.wait(30)
    return "released"


def test_result_comes_back() -> None:
    with ServiceClient(service) as client:
        assert client.call("/double", 21) == 42


def test_arguments_are_bound_and_the_log_is_heard() -> None:
    with ServiceClient(service) as client:
        call = client.start("/typed", {"model": "svc"})
        assert call.result() == ["svc", 3]
        assert [(line.level, line.message) for line in call.log()] == [("debug", "training svc")]
        with pytest.raises(RequestRefused, match="depth"):
            client.call("/typed", {"model": "svc", "depth": "deep"})


def test_local_handler_will_do() -> None:
    local = Service("local")
    local.handler("/h")(lambda call: call.body.decode())
    with ServiceClient(local) as client:
        assert client.call("/h", body=b"text", content_type="text/plain") == "text"


def test_failure_is_raised_in_the_handlers_words() -> None:
    with ServiceClient(service) as client, pytest.raises(CallFailed, match="No such model") as failure:
        client.call("/fails")
    assert (failure.value.problem.code, failure.value.retryable) == ("model", False)


def test_what_is_not_taken_on_is_refused() -> None:
    with ServiceClient(service) as client:
        with pytest.raises(RequestRefused, match="404"):
            client.start("/nowhere")
        client.call("/double", 1, correlation_id="a")
        with pytest.raises(RequestRefused) as refused:
            client.call("/double", 2, correlation_id="a")
    assert refused.value.status == 422


def test_hours_pass_at_once() -> None:
    began_s = time.monotonic()
    with ServiceClient(service, heartbeat_s=3600) as client:
        call = client.start("/night")
        assert call.status().state is CallState.RUNNING
        client.advance(3600)
        assert [type(report.body) for report in client.reports(call.id)] == [Accepted, Heartbeat]
        client.advance(7 * 3600)
        assert call.result() == "good morning"
        status = call.status()
        assert status.ended_time is not None
        assert status.accepted_time is not None
        assert (status.ended_time - status.accepted_time).total_seconds() >= 8 * 3600
    assert time.monotonic() - began_s < 3600


def test_call_is_cancelled() -> None:
    with ServiceClient(service) as client:
        call = client.start("/night")
        call.cancel()
        assert isinstance(call.completion(), Cancelled)
        with pytest.raises(asyncio.CancelledError):
            call.result()


def test_progress_and_completion_are_seen() -> None:
    with ServiceClient(service) as client:
        call = client.start("/double", 1)
        assert call.completion() == Succeeded.of(2)
        assert call.progress() == [Progress(done=1, total=1)]


def test_what_never_comes_is_a_timeout() -> None:
    with ServiceClient(service, timeout_s=0.05) as client, pytest.raises(TimeoutError, match=r"in 0\.05 s"):
        client.call("/night")


def test_synchronous_handler_holds_up_nothing_else() -> None:
    with ServiceClient(service) as client:
        call = client.start("/held")
        assert client.call("/double", 2) == 4
        released.set()
        assert call.result() == "released"
