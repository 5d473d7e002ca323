"""The framework's floor: deferral and resumption with nothing in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent


class FiresByItself(BaseTrigger):
    """Fires after `delay_s`, with the instant as its payload."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes this trigger again."""
        return "floor.FiresByItself", {"delay_s": self.delay_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once."""
        await asyncio.sleep(self.delay_s)
        yield TriggerEvent(time.time())


class FloorOperator(BaseOperator):
    """Defers to `FiresByItself` and returns its payload."""

    def __init__(self, *, delay_s: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delay_s = delay_s

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=FiresByItself(self.delay_s), method_name="execute_complete")

    def execute_complete(self, context: Any, event: float) -> float:
        """Return when it fired."""
        return event
