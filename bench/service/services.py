"""The services that are measured: ours, the article's Flask, and the bare job library."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from longcall.contract import JsonValue
from longcall.service import Call, Service

service = Service("bench")


@service.handler("/stamp")
async def stamp(call: Call) -> JsonValue:
    """Tell when the work began."""
    return time.time()


@service.handler("/queued", max_running=4)
async def queued(call: Call) -> JsonValue:
    """Work off nothing, once it is allowed to."""
    import asyncio

    while not Path(os.environ["BENCH_GATE"]).exists():  # noqa: ASYNC110, ASYNC240 # four wait, for a while
        await asyncio.sleep(0.5)
    return None


@service.handler("/pid")
async def pid(call: Call) -> JsonValue:
    """Say who works, and work until that one is killed."""
    import asyncio

    file = Path(os.environ["BENCH_GATE"]).parent / f"pid-{call.id}"
    file.write_text(str(os.getpid()))
    call.progress(call.attempt)
    if call.attempt == 1:
        await asyncio.Event().wait()
    return None


def flask_app():  # noqa: ANN201 # an optional library's
    """Return the article's service: a thread for each call, and nothing is kept."""
    from flask import Flask, request

    app = Flask(__name__)

    def work(correlid: str) -> None:
        """Publish, as the article does; what that costs is left out, to its favour."""

    @app.post("/stamp")
    def serve() -> str:
        threading.Thread(target=work, args=(request.args["correlid"],)).start()
        return "Hello"

    return app


def library_app():  # noqa: ANN201 # an optional library's
    """Return procrastinate behind Starlette: each call is one deferred job, and no more."""
    from procrastinate import App, PsycopgConnector
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    queue = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_POSTGRES"], min_size=1, max_size=8))

    @queue.task(name="stamp")
    async def work(correlid: str) -> None:
        pass

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with queue.open_async():
            await queue.schema_manager.apply_schema_async()
            yield

    async def start(request: Request) -> Response:
        correlid = request.query_params["correlid"]
        await work.configure(queueing_lock=correlid).defer_async(correlid=correlid)
        return Response(json.dumps({"correlid": correlid}), 202)

    return Starlette(routes=[Route("/stamp", start, methods=["POST"])], lifespan=lifespan)
