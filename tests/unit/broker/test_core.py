"""The core without sockets: cancelled requests, races with a delete, and what the store is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.leases import Consumer
from longcall.broker.core.store import SavedState, SqliteStore
from longcall.broker.wire import Wire
from longcall.testing.clock import VirtualClock

TOPIC = "projects/p/topics/top"
INBOX = "projects/p/subscriptions/sub"
WAIT_S = 30.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
async def core(store: SqliteStore) -> BrokerCore:
    made = BrokerCore(store, VirtualClock())
    made.load(store.open())
    await made.topics.create(Wire.Topic(name=TOPIC))
    await made.subscriptions.create(Wire.Subscription(name=INBOX, topic=TOPIC))
    return made


def _kept(folder: Path) -> SavedState:
    store = SqliteStore(folder)
    state = store.open()
    store.close()
    return state


async def _publish(core: BrokerCore) -> list[str]:
    message: Any = Wire.PubsubMessage(data=b"x")
    return await core.traffic.publish(TOPIC, [message], request_bytes=10)


async def test_publish_whose_caller_left_is_delivered_all_the_same(core: BrokerCore) -> None:
    inbox = core.state.subscription(INBOX)
    waiting = asyncio.create_task(inbox.wait(Consumer()))
    publishing = asyncio.create_task(_publish(core))
    await asyncio.wait({publishing}, timeout=0)  # it is on its way to the store
    publishing.cancel()
    await asyncio.wait_for(waiting, WAIT_S)
    assert inbox.queue.ready == 1


async def test_message_is_kept_until_the_last_subscription_acknowledged_it(
    core: BrokerCore, store: SqliteStore, tmp_path: Path
) -> None:
    await core.subscriptions.create(Wire.Subscription(name=INBOX + "-2", topic=TOPIC))
    await _publish(core)
    await core.subscriptions.delete(INBOX + "-2")
    store.close()
    state = _kept(tmp_path)
    assert (len(state.messages), len(state.deliveries)) == (1, 1)


async def test_message_for_a_subscription_deleted_meanwhile_is_swept_away(
    core: BrokerCore, store: SqliteStore, tmp_path: Path
) -> None:
    await asyncio.gather(_publish(core), core.subscriptions.delete(INBOX))
    await core.sweeper.sweep()
    store.close()
    state = _kept(tmp_path)
    assert (state.messages, state.deliveries) == ([], [])


async def test_number_of_a_subscription_is_never_used_again(tmp_path: Path) -> None:
    numbers = []
    for _ in range(3):
        store = SqliteStore(tmp_path)
        core = BrokerCore(store, VirtualClock())  # as if the wall clock had been set back
        core.load(store.open())
        if not numbers:
            await core.topics.create(Wire.Topic(name=TOPIC))
        name = f"{INBOX}-{len(numbers)}"
        await core.subscriptions.create(Wire.Subscription(name=name, topic=TOPIC))
        numbers.append(core.state.subscription(name).number)
        store.close()
    assert len(set(numbers)) == 3
