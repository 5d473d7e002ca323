"""The tasks that are measured: the framework's floor, and longcall's operator with a clock in its trigger."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent
from schedule import turn

from longcall.airflow import CompletionTrigger, LongCallOperator


class FiresByItself(BaseTrigger):
    """Fires when it is its turn, with the instant as its payload: deferral, resumption, nothing else."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes this trigger again."""
        return "timed.FiresByItself", {"n": self.n}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once."""
        await turn(self.n)
        yield TriggerEvent(time.time())


class FloorOperator(BaseOperator):
    """Defers to `FiresByItself` and returns its payload."""

    def __init__(self, *, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=FiresByItself(self.n), method_name="execute_complete")

    def execute_complete(self, context: Any, event: float) -> dict[str, float]:
        """Return when it fired."""
        return {"ended_s": event, "yielded_s": event}


class TimedTrigger(CompletionTrigger):
    """The trigger as it is; its event says when it was yielded."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once."""
        async for event in super().run():
            event.payload["yielded_s"] = time.time()
            yield event


class TimedOperator(LongCallOperator):
    """The operator as it is; its result is when the work has ended and the event was yielded."""

    def defer(self, *, trigger: BaseTrigger, **settings: Any) -> None:
        """Defer to the trigger with the clock."""
        super().defer(trigger=TimedTrigger(**trigger.serialize()[1]), **settings)

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the instants."""
        return {"ended_s": super().execute_complete(context, event), "yielded_s": event["yielded_s"]}
