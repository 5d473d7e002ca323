"""The service in the pictures of the docs."""

from __future__ import annotations

import asyncio

from longcall.contract import JsonValue
from longcall.service import Call, CallFailed, Service

service = Service("digits")
SCORES = {"random forest": 0.964, "k nearest": 0.978, "gradient boosting": 0.969}


@service.handler("/train")
async def train(call: Call, model: str, halt_at: int = 10, step_s: float = 0.02) -> JsonValue:
    """Train a model in ten steps, and wait for ever at `halt_at`, so that a picture can be taken."""
    if model not in SCORES:
        raise CallFailed("Unknown model", detail=f"there is no {model!r}", code="model", retryable=False)
    call.log(f"{model}: 1797 images of 64 pixels, 10 folds")
    for step in range(10):
        if step == halt_at:
            await asyncio.Event().wait()
        await asyncio.sleep(step_s)
        accuracy = SCORES[model] - 0.004 * (9 - step)
        call.progress(step + 1, 10, unit="folds", message=f"accuracy {accuracy:.3f}")
        if step == 4:
            call.log("fold 5: 3 images without a label are left out", level="warning")
    call.log(f"accuracy {SCORES[model]}")
    return {"accuracy": SCORES[model], "model": model}


@service.handler("/report")
async def report(call: Call, day: str) -> JsonValue:
    """Report on a day."""
    call.progress(31, 31, unit="pages")
    return {"day": day, "pages": 31}
