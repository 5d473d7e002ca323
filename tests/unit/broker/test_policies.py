"""IAM policies in the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from google.iam.v1.policy_pb2 import Policy

from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.store import SqliteStore
from longcall.broker.errors import Aborted
from longcall.broker.wire import Wire
from longcall.testing.clock import VirtualClock

TOPIC = "projects/p/topics/top"
POLICY = Policy(bindings=[{"role": "roles/viewer", "members": ["user:a@example.com"]}])


def started(folder: Path) -> tuple[BrokerCore, SqliteStore]:
    store = SqliteStore(folder)
    core = BrokerCore(store, VirtualClock())
    core.load(store.open())
    return core, store


async def test_policy_survives_a_kill(tmp_path: Path) -> None:
    core, store = started(tmp_path)
    await core.topics.create(Wire.Topic(name=TOPIC))
    first = await core.policies.set(TOPIC, POLICY, [])
    store.close()  # no sweep, no stop
    core, store = started(tmp_path)
    assert core.policies.get(TOPIC) == first
    second = await core.policies.set(TOPIC, first, [])
    assert second.etag != first.etag
    with pytest.raises(Aborted):
        await core.policies.set(TOPIC, first, [])
    store.close()


async def test_policy_of_a_deleted_resource_is_swept_out_of_the_store(tmp_path: Path) -> None:
    core, store = started(tmp_path)
    await core.topics.create(Wire.Topic(name=TOPIC))
    await core.policies.set(TOPIC, POLICY, [])
    await core.topics.delete(TOPIC)
    store.close()
    core, store = started(tmp_path)
    await core.topics.create(Wire.Topic(name=TOPIC))
    assert not core.policies.get(TOPIC).bindings
    await core.sweeper.sweep()
    store.close()
    assert SqliteStore(tmp_path).open().of_kind("policy") == []


async def test_policy_of_a_resource_that_is_there_is_not_swept(tmp_path: Path) -> None:
    core, store = started(tmp_path)
    await core.topics.create(Wire.Topic(name=TOPIC))
    policy = await core.policies.set(TOPIC, POLICY, [])
    await core.sweeper.sweep()
    assert core.policies.get(TOPIC) == policy
    store.close()


async def test_one_of_two_writers_who_read_the_same_is_refused(tmp_path: Path) -> None:
    core, store = started(tmp_path)
    await core.topics.create(Wire.Topic(name=TOPIC))
    read = core.policies.get(TOPIC)
    both = [core.policies.set(TOPIC, read, []) for _ in range(2)]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(each, Aborted) for each in done) == [False, True]
    store.close()
