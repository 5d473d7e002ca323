"""Puts a running service together: store, supervisor, publisher, and the ASGI application before them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from starlette.applications import Starlette

from longcall._core.clock import Clock
from longcall.service.auth import make_verifier
from longcall.service.calls import Calls
from longcall.service.config import ServiceConfig
from longcall.service.handlers import HandlerSpec
from longcall.service.http import make_app
from longcall.service.metrics import make_observer
from longcall.service.reports import Publisher
from longcall.service.running import Running
from longcall.service.store import CallStore, open_store
from longcall.service.supervisor import Supervisor
from longcall.service.tracing import make_tracing
from longcall.transport.port import Transport

__all__ = ["make_application"]

log = logging.getLogger(__name__)


def make_application(
    handlers: Mapping[str, HandlerSpec],
    *,
    config: ServiceConfig,
    source: str,
    transport: Transport | None,
    store: CallStore | None,
    clock: Clock,
) -> Starlette:
    """Return the application; its lifespan opens what is None here, and starts and stops the work.

    Raises:
        ServiceConfigError: who may call cannot be told as configured.
    """
    verifier = make_verifier(config.auth, clock=clock)
    observer, tracing = make_observer(list(handlers)), make_tracing()

    @asynccontextmanager
    async def running() -> AsyncIterator[Running]:
        async with _transport(transport) as connection, _store(store, config.store, clock) as calls:
            supervisor = Supervisor(
                handlers,
                store=calls,
                publisher=Publisher(connection, source=source, topic=config.topic, observer=observer),
                config=config,
                clock=clock,
                observer=observer,
                tracing=tracing,
            )
            await supervisor.start()
            service = Running(
                Calls(calls, config=config, wake=supervisor.wake, observer=observer, tracing=tracing),
                supervisor,
            )
            try:
                yield service
            finally:
                await service.stop()

    return make_app(list(handlers), config=config, running=running, verifier=verifier, observer=observer)


def _transport(transport: Transport | None) -> AbstractAsyncContextManager[Transport]:
    return nullcontext(transport) if transport is not None else _opened_transport()


@asynccontextmanager
async def _opened_transport() -> AsyncIterator[Transport]:
    from longcall.transport.pubsub import PubSubTransport

    transport = PubSubTransport.from_env(os.environ)
    try:
        yield transport
    finally:
        await transport.aclose()


def _store(store: CallStore | None, where: str, clock: Clock) -> AbstractAsyncContextManager[CallStore]:
    return nullcontext(store) if store is not None else _opened_store(where, clock)


@asynccontextmanager
async def _opened_store(where: str, clock: Clock) -> AsyncIterator[CallStore]:
    store = open_store(where, clock=clock)
    log.info("Calls are kept in %s", where)
    try:
        yield store
    finally:
        await store.aclose()
