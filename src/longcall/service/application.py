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
from longcall.service.cloud_run import standstill_advice, start_warnings
from longcall.service.config import ServiceConfig
from longcall.service.engine import Engine, LocalEngine
from longcall.service.errors import ServiceConfigError
from longcall.service.handlers import HandlerSpec
from longcall.service.http import make_app
from longcall.service.metrics import make_observer
from longcall.service.observer import Observer
from longcall.service.reports import Publisher
from longcall.service.results import ResultFiles
from longcall.service.running import Running
from longcall.service.standstill import watching_for_standstill
from longcall.service.store import CallStore, is_shared, open_store
from longcall.service.supervisor import Supervisor
from longcall.service.tracing import make_tracing
from longcall.transport.port import Transport

__all__ = ["make_application"]

log = logging.getLogger(__name__)


def make_application(
    handlers: Mapping[str, HandlerSpec],
    *,
    config: ServiceConfig,
    name: str,
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
        async with (
            _transport(transport) as connection,
            _store(store, config.store, name=name, clock=clock) as calls,
        ):
            engine = _engine(calls, config, observer)
            supervisor = Supervisor(
                handlers,
                store=calls,
                engine=engine,
                publisher=Publisher(connection, source=source, topic=config.topic, observer=observer),
                config=config,
                clock=clock,
                observer=observer,
                tracing=tracing,
                results=ResultFiles(calls, config, service=name, clock=clock),
            )
            service = Running(
                Calls(calls, config=config, engine=engine, observer=observer, tracing=tracing),
                supervisor,
            )
            for warning in start_warnings(config, os.environ):
                log.warning("%s", warning)
            watch = watching_for_standstill(
                is_working=supervisor.is_working, advice=standstill_advice(os.environ), clock=clock
            )
            try:
                await supervisor.start()
                async with watch:
                    yield service
            finally:
                await service.stop()

    return make_app(
        handlers,
        config=config,
        running=running,
        verifier=verifier,
        observer=observer,
        name=name,
        clock=clock,
    )


def _engine(store: CallStore, config: ServiceConfig, observer: Observer) -> Engine:
    if not is_shared(config.store):
        if not config.works:
            raise ServiceConfigError("works", "somebody has to work, and a folder belongs to one process")
        return LocalEngine(store, max_interruptions=config.max_interruptions, observer=observer)
    from longcall.service.engine.replicas import ReplicaEngine

    return ReplicaEngine(store, config, observer=observer)


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


def _store(
    store: CallStore | None, where: str, *, name: str, clock: Clock
) -> AbstractAsyncContextManager[CallStore]:
    return nullcontext(store) if store is not None else _opened_store(where, name, clock)


@asynccontextmanager
async def _opened_store(where: str, name: str, clock: Clock) -> AsyncIterator[CallStore]:
    store = open_store(where, service=name, clock=clock)
    log.info("Calls are kept in %s", "PostgreSQL" if is_shared(where) else where)
    try:
        yield store
    finally:
        await store.aclose()
