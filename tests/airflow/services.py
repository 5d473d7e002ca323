"""The services that the DAGs in `dags/` call, on the SDK as its users use it."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from longcall.contract import DataReference, JsonValue
from longcall.service import Call, CallFailed, Result, Service


class NotingService(Service):
    """Notes each cancellation that is asked for: a line with the path in `$CANCELLATIONS`."""

    def asgi(self, *args: Any, **kwargs: Any) -> Starlette:
        app = super().asgi(*args, **kwargs)
        app.add_middleware(NoteCancellations)
        return app


class NoteCancellations:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "DELETE":
            note(scope["path"])
        await self._app(scope, receive, send)


def note(path: str) -> None:
    with Path(os.environ["CANCELLATIONS"]).open("a") as file:
        file.write(f"{path}\n")


service = NotingService("tests")


@service.handler("/echo")
async def echo(call: Call) -> JsonValue:
    """Answer with the arguments and the id, after `delay_s` of them."""
    arguments = call.arguments if isinstance(call.arguments, dict) else {"given": call.arguments}
    await asyncio.sleep(float(str(arguments.get("delay_s", 0))))
    call.progress(1, 1, unit="echo", message="about to answer")
    return {"echo": arguments, "correlid": call.id}


_waiting: list[asyncio.Future[None]] = []


@service.handler("/together")
async def together(call: Call) -> JsonValue:
    """Answer nobody before `calls` calls are there: a caller that held a slot while waiting would block."""
    arguments = call.arguments
    assert isinstance(arguments, dict)
    _waiting.append(asyncio.get_running_loop().create_future())
    if len(_waiting) == arguments["calls"]:
        for future in _waiting:
            future.set_result(None)
        _waiting.clear()
    else:
        await _waiting[-1]
    return {"n": arguments["n"], "correlid": call.id}


@service.handler("/secret")
async def secret(call: Call) -> JsonValue:
    """Answer with something that no log may show."""
    return f"secret-{secrets.token_hex(8)}"


@service.handler("/elsewhere")
async def elsewhere(call: Call) -> Result:
    """Put the result into a file, and answer where it is."""
    result = b'{"rows": 12}'
    place = Path(os.environ["RESULTS_FOLDER"], call.id)
    await asyncio.to_thread(place.write_bytes, result)
    reference = DataReference.of(result, url=f"file://{place}")
    return Result(reference=reference, content_type="application/json")


_starts: Counter[str] = Counter()


@service.handler("/counted")
async def counted(call: Call) -> JsonValue:
    """Answer how often work was begun for this `n`, after `work_s` of them."""
    arguments = call.arguments
    assert isinstance(arguments, dict)
    n = str(arguments["n"])
    _starts[n] += 1
    await asyncio.sleep(float(str(arguments.get("work_s", 1))))
    return {"n": n, "correlid": call.id, "starts": _starts[n]}


@service.handler("/fails-once")
async def fails_once(call: Call) -> JsonValue:
    """Fail the first call of each `n`."""
    n = call.body.decode()
    _starts[n] += 1
    if _starts[n] == 1:
        raise RuntimeError("the disk of node 7 is full")
    return _starts[n]


_released = asyncio.Event()


@service.handler("/held")
async def held(call: Call) -> JsonValue:
    """Work until somebody calls `/release`."""
    await _released.wait()
    return "released"


@service.handler("/release")
async def release(call: Call) -> JsonValue:
    """Let every `/held` that waits go on."""
    _released.set()
    _released.clear()
    return None


@service.handler("/fails")
async def fails(call: Call) -> JsonValue:
    """Fail in a way that a retry may mend."""
    raise RuntimeError("the disk of node 7 is full")


@service.handler("/fails-for-good")
async def fails_for_good(call: Call) -> JsonValue:
    """Fail in a way that no retry mends."""
    raise CallFailed("Unknown model", detail="there is no model 'gpt-0'", code="model", retryable=False)


@service.handler("/forever")
async def forever(call: Call) -> JsonValue:
    """Work until cancelled."""
    await asyncio.Event().wait()
    return None


_in_the_crowd = 0


@service.handler("/crowd")
async def crowd(call: Call) -> JsonValue:
    """Answer how many of these calls were there at once, this one included."""
    global _in_the_crowd  # one process, one loop
    _in_the_crowd += 1
    most = _in_the_crowd
    for _ in range(20):
        await asyncio.sleep(0.05)
        most = max(most, _in_the_crowd)
    _in_the_crowd -= 1
    return most
