"""Handlers as a test runs them: in its own process, where a debugger, `monkeypatch` and coverage see them."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import Any, cast

from longcall.service.call import Handler, HandlerResult
from longcall.service.handlers import HandlerSpec

__all__ = ["in_this_process"]


def in_this_process(spec: HandlerSpec) -> HandlerSpec:
    """Return a handler of which no part runs in another process."""
    if inspect.iscoroutinefunction(spec.function):
        return replace(spec, isolation="task")

    async def in_thread(*arguments: Any, **named: Any) -> HandlerResult:
        function = cast("Any", spec.function)
        return cast("HandlerResult", await asyncio.to_thread(function, *arguments, **named))

    handler: Handler = in_thread
    return replace(spec, function=handler, isolation="task")
