"""What is asked of Airflow is seen through, whoever asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from longcall.airflow.in_thread import in_any_thread, in_thread

InThread = Callable[..., Awaitable[Any]]
both = pytest.mark.parametrize("run", [in_thread, in_any_thread])


@both
async def test_outcome_is_the_functions(run: InThread) -> None:
    assert await run(int, "12") == 12
    with pytest.raises(ValueError, match="twelve"):
        await run(int, "twelve")


@both
async def test_cancelled_it_ends_at_once_with_the_reason_and_the_request_by_itself(run: InThread) -> None:
    """The request goes through the event loop, as in a triggerer of Airflow 3.1."""
    asked, answered, outcome = asyncio.Event(), asyncio.Event(), list[str]()
    ended = threading.Event()

    async def request() -> str:
        asked.set()
        await answered.wait()
        return "the answer"

    def ask() -> None:
        try:
            outcome.append(async_to_sync(request)())
        except asyncio.CancelledError:
            outcome.append("broken off")
        finally:
            ended.set()

    waiting = asyncio.ensure_future(run(ask))
    await asked.wait()
    waiting.cancel("by a user")
    with pytest.raises(asyncio.CancelledError, match="by a user"):
        await waiting
    assert outcome == []
    answered.set()
    await asyncio.to_thread(ended.wait, 30)
    assert outcome == ["the answer"]


async def test_error_that_nobody_waits_for_is_not_logged_as_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        go_on.wait()
        raise OSError

    waiting = asyncio.ensure_future(in_thread(fail))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    await asyncio.wait([waiting])
    go_on.set()
    await in_thread(int)  # the one thread is free again
    assert caplog.text == ""
