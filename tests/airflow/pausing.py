"""An operator and a trigger that pause once, at the instant that they are told, for somebody to be killed.

The product knows nothing of this: its steps are replaced by ones that pause. Files in `$PAUSED_FOLDER`
say so: `turn` is whoever's who made it, `KEY` has paused, and goes on at `KEY.go`, if it still lives.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from longcall.airflow import CompletionTrigger, LongCallOperator
from longcall.airflow import operator as steps

IN_WORKER = {
    "before the inbox": ("prepare", "before"),
    "inbox made, before the request": ("start", "before"),
    "request answered, before that is kept": ("start", "after"),
    "before the deferral": ("completion_trigger", "before"),
    "resumed, before the result is read": ("finish", "before"),
    "result read, before the task has ended": ("finish", "after"),
}
IN_TRIGGER = (
    "before the trigger listens",
    "while the trigger waits",
    "received, before it is stored",
    "stored, before the inbox is deleted",
    "stored, before the event",
)
_WAITS_A_WHILE_S = 0.5


def pauses(key: str) -> Iterator[None]:
    """Yield while it is another's turn, then until told to go on; not at all the second time."""
    folder = Path(os.environ["PAUSED_FOLDER"])
    if (folder / key).exists():
        return
    while True:
        try:
            (folder / "turn").touch(exist_ok=False)
            break
        except FileExistsError:
            yield
    (folder / key).touch()
    while not (folder / f"{key}.go").exists():
        yield


async def pause(key: str) -> None:
    for _ in pauses(key):
        await asyncio.sleep(0.02)


class PausingTrigger(CompletionTrigger):
    """Pauses at its instant; other triggers go on."""

    def __init__(self, *, key: str, at: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.at = at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        _, arguments = super().serialize()
        return "pausing.PausingTrigger", {**arguments, "key": self.key, "at": self.at}

    async def run(self) -> AsyncIterator[Any]:
        await self._at("before the trigger listens")
        waiting = asyncio.create_task(self._pause_while_waiting())
        async with aclosing(super().run()) as events:
            try:
                async for event in events:
                    yield event
            finally:
                waiting.cancel()

    async def _at(self, instant: str) -> None:
        if instant == self.at:
            await pause(self.key)

    async def _pause_while_waiting(self) -> None:
        await asyncio.sleep(_WAITS_A_WHILE_S)
        await self._at("while the trigger waits")

    async def _receive_once(self, *args: Any) -> Any:
        received = await super()._receive_once(*args)
        await self._at("received, before it is stored")
        return received

    async def _delete_inbox(self, *args: Any) -> bool:
        await self._at("stored, before the inbox is deleted")
        return await super()._delete_inbox(*args)

    async def _hold_back(self) -> None:
        while not self._has_arrived:  # noqa: ASYNC110 # the product has no event for it
            await asyncio.sleep(0.02)
        await self._at("stored, before the event")
        await super()._hold_back()


class PausingOperator(LongCallOperator):
    """Pauses in the worker, or has its trigger pause."""

    template_fields = (*LongCallOperator.template_fields, "at", "key")

    def __init__(self, *, at: str, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.at = at
        self.key = key

    def execute(self, context: Any) -> Any:
        self._arm()
        return super().execute(context)

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> Any:
        self._arm()
        return super().execute_complete(context, event)

    def _arm(self) -> None:
        if self.at in IN_WORKER:
            step, when = IN_WORKER[self.at]
            setattr(steps, step, pausing(getattr(steps, step), when, self.key))
        else:
            make = steps.completion_trigger
            steps.completion_trigger = lambda *args, **kwargs: self._pausing_trigger(make(*args, **kwargs))

    def _pausing_trigger(self, trigger: CompletionTrigger) -> PausingTrigger:
        _, arguments = trigger.serialize()
        return PausingTrigger(key=self.key, at=self.at, **arguments)


def pausing(step: Callable[..., Any], when: str, key: str) -> Callable[..., Any]:
    def wait() -> None:
        for _ in pauses(key):
            time.sleep(0.02)

    @functools.wraps(step)
    def paused(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            wait()
        result = step(*args, **kwargs)
        if when == "after":
            wait()
        return result

    return paused
