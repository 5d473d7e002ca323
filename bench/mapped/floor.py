"""The framework's floor: tasks that defer to a trigger which fires when all are there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent
from go import note_go


class Together(BaseTrigger):
    """Fires once `BENCH_CALLS` of its kind run in this triggerer."""

    _running: ClassVar[list[asyncio.Future[None]]] = []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes this trigger again."""
        return "floor.Together", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once."""
        Together._running.append(asyncio.get_running_loop().create_future())
        if len(Together._running) == int(os.environ["BENCH_CALLS"]):
            note_go()
            for future in Together._running:
                future.set_result(None)
        else:
            await Together._running[-1]
        yield TriggerEvent("done")


class FloorOperator(BaseOperator):
    """Defers to `Together` and returns what it was given."""

    template_fields = ("data",)

    def __init__(self, *, data: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data = data

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=Together(), method_name="execute_complete")

    def execute_complete(self, context: Any, event: str) -> dict[str, Any]:
        """Return the arguments."""
        return {"arguments": self.data}
