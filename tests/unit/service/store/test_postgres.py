"""What PostgreSQL does that a file does not: end connections, be shared, be another service's."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from longcall._core.clock import SystemClock
from longcall.contract import CallRequest
from longcall.service.errors import ServiceConfigError
from longcall.service.store import open_store


async def test_connections_that_were_ended_are_replaced(make_postgres: Callable[[], str]) -> None:
    url = make_postgres()
    store = open_store(url, service="s", clock=SystemClock())
    await store.accept(CallRequest(correlation_id="a"), handler="/h", max_open=9)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    await store.accept(CallRequest(correlation_id="b"), handler="/h", max_open=9)
    assert await store.get("a") is not None
    await store.aclose()


async def test_tables_of_another_service_are_refused_without_the_password(
    make_postgres: Callable[[], str],
) -> None:
    url = make_postgres().replace("postgres:@", "postgres:swordfish@")
    await open_store(url, service="one", clock=SystemClock()).aclose()
    with pytest.raises(ServiceConfigError, match="calls of the service 'one', not of 'two'") as refused:
        open_store(url, service="two", clock=SystemClock())
    assert "swordfish" not in str(refused.value)


async def test_replicas_that_start_together_make_the_tables_once(make_postgres: Callable[[], str]) -> None:
    import asyncio

    url = make_postgres()
    stores = await asyncio.gather(
        *(asyncio.to_thread(open_store, url, service="s", clock=SystemClock()) for _ in range(4))
    )
    for store in stores:
        await store.accept(CallRequest(correlation_id="a"), handler="/h", max_open=9)
        await store.aclose()
