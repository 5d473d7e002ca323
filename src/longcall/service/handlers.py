"""A handler as it was registered: the function, where it runs, and what an interruption does to it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from longcall.service.arguments import ArgumentsOf
from longcall.service.call import Handler
from longcall.service.errors import ServiceConfigError
from longcall.service.process import check_importable

__all__ = ["HandlerSpec", "Isolation", "OnInterrupt"]

Isolation: TypeAlias = Literal["process", "task"]
OnInterrupt: TypeAlias = Literal["rerun", "fail"]
"""What becomes of work that died with its process: it is done again, or its call fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSpec:
    """One handler of a service.

    Attributes:
        path: of its `POST`.
        function: synchronous or asynchronous.
        isolation: `process`: each call in a child process of its own; `task`: in the service's event loop.
        on_interrupt: what becomes of a call whose work died with the service.
        max_running: calls of it that run at once; None: as many as the service runs.
        arguments: what the function takes.
    """

    path: str
    function: Handler
    isolation: Isolation
    on_interrupt: OnInterrupt = "rerun"
    max_running: int | None = None
    arguments: ArgumentsOf = field(default_factory=ArgumentsOf.of_the_call)

    @classmethod
    def of(
        cls,
        path: str,
        function: Handler,
        *,
        isolation: Isolation | None,
        on_interrupt: OnInterrupt,
        max_running: int | None,
    ) -> HandlerSpec:
        """Return the spec; without `isolation`, `def` gets a process and `async def` a task.

        Raises:
            ServiceConfigError: the settings do not go together, or the function's signature cannot work.
        """
        called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004 - the method itself
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
        if isolation == "task" and not is_async:
            raise ServiceConfigError("isolation", "a synchronous function would hold up all others")
        if isolation not in (None, "process", "task"):
            raise ServiceConfigError("isolation", "'process' or 'task'")
        if on_interrupt not in ("rerun", "fail"):
            raise ServiceConfigError("on_interrupt", "'rerun' or 'fail'")
        if max_running is not None and max_running < 1:
            raise ServiceConfigError("max_running", "at least 1")
        return cls(
            path=path,
            function=function,
            isolation=isolation or ("task" if is_async else "process"),
            on_interrupt=on_interrupt,
            max_running=max_running,
            arguments=ArgumentsOf.of(function),
        )

    @property
    def target(self) -> str:
        """`module:qualname`, for the child process that imports it.

        Raises:
            ServiceConfigError: no child process can.
        """
        return check_importable(self.function)
