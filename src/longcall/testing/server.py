"""A service for the length of a test, on a port of its own, in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from longcall._core.clock import SystemClock
from longcall.contract import resource_path
from longcall.service import Service, ServiceConfig
from longcall.service.application import make_application
from longcall.testing._handlers import in_this_process

__all__ = ["running_service"]


@contextmanager
def running_service(
    service: Service, *, topic: str, project: str | None = None, **settings: Any
) -> Iterator[str]:
    """Serve a service to whoever asks for it by HTTP; yield its URL, without a path.

    It publishes to the emulator that PUBSUB_EMULATOR_HOST names when this is entered (the fixture
    `longcall_broker` sets it), and forgets its calls when it is left; those that still run are stopped.
    Synchronous handlers run in a thread.

    Args:
        service: whose handlers to serve.
        topic: where to publish, by path or id; whoever needs it makes it.
        project: of a topic that is given by id.
        **settings: of its `ServiceConfig`.

    Raises:
        ContractError: the topic cannot be one.
        ServiceConfigError: the service cannot run as configured.
    """
    path = resource_path(topic, project=project, collection="topics", field="topic")
    given: dict[str, Any] = {"topic": path, "store": "memory", "drain_s": 0.0, **settings}
    app = make_application(
        {path: in_this_process(spec) for path, spec in service.specs.items()},
        config=ServiceConfig(**given),
        name=service.name,
        source=service.source,
        transport=None,
        store=None,
        clock=SystemClock(),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(app)
    thread = threading.Thread(target=server.run_on, args=(listener,), name="longcall-test-service")
    thread.start()
    try:
        server.started_up.result()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class _Server(uvicorn.Server):
    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
            )
        )
        self.started_up: Future[None] = Future()
        self._app = app

    def run_on(self, listener: socket.socket) -> None:
        with listener:
            asyncio.run(self._run_on(listener))

    async def _run_on(self, listener: socket.socket) -> None:
        try:
            async with self._app.router.lifespan_context(self._app):
                self.started_up.set_result(None)
                await self.serve(sockets=[listener])
        except BaseException as error:
            if self.started_up.done():
                raise
            self.started_up.set_exception(error)
