"""Waits for a call in the worker: with what waits in the triggerer, so that both hear and do the same."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from longcall.airflow.trigger import CompletionTrigger
from longcall.contract import JsonValue

__all__ = ["wait_in_worker"]


def wait_in_worker(trigger: CompletionTrigger) -> dict[str, JsonValue]:
    """Wait as the triggerer would, and return the payload of the event.

    The event loop has a thread of its own, which ends with the wait: Airflow ends a task by raising from a
    signal handler, in the main thread, and no part of the loop is to be hit by that. Then the wait is broken
    off; what becomes of the call is for whoever catches it.
    """
    breaking_off: Future[Callable[[], object]] = Future()

    async def wait() -> dict[str, JsonValue]:
        task = asyncio.current_task()
        assert task is not None  # this is one
        breaking_off.set_result(
            functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        )
        return await trigger.wait()

    context = contextvars.copy_context()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="longcall-wait") as thread:
        waiting = thread.submit(context.run, asyncio.run, wait())
        try:
            return waiting.result()
        except BaseException:
            if not waiting.done():
                breaking_off.result()()
            raise
