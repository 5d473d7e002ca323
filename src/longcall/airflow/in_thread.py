"""Airflow's blocking functions, called from a trigger.

In a triggerer most of them send a request to its supervisor, and Airflow 3.0 and 3.1 do not survive it when
one is broken off: its answer is taken for that of the next request, and the triggerer dies. Besides, asgiref
breaks them off in a way that loses the reason of a cancellation, by which Airflow 3.3 tells a user's from its
own. So they are seen through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

__all__ = ["in_any_thread", "in_thread"]

P = ParamSpec("P")
T = TypeVar("T")

_running: Final[set[asyncio.Task[Any]]] = set()
"""The event loop itself does not keep its tasks."""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in the one thread that Airflow's own calls take turns in.

    Cancelled, this ends at once, and the function by itself; nobody hears of its outcome then.
    """
    return await _seen_through(sync_to_async(function)(*args, **kwargs))


async def in_any_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that may take long, beside others; otherwise as `in_thread`."""
    return await _seen_through(sync_to_async(function, thread_sensitive=False)(*args, **kwargs))


async def _seen_through(running: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(running)
    _running.add(task)
    task.add_done_callback(_forget)
    return await asyncio.shield(task)


def _forget(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # else it is logged as never retrieved where nobody waits any more
