"""A service that trains a model, slowly."""

from __future__ import annotations

import time

from longcall.service import Call, Service

service = Service("trainer")


@service.handler("/train")
def train(call: Call, model: str, steps: int = 10) -> dict[str, float | str]:
    """Take a second a step."""
    for step in range(steps):
        call.progress(step, steps, unit="steps")
        time.sleep(1)
    return {"model": model, "accuracy": 0.97}
