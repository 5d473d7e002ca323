"""Schemas without sockets: their file says what their memory says, and races with a delete."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.schema import ActiveSchema, Revision
from longcall.broker.core.state import BrokerState
from longcall.broker.core.store import MemoryStore, SqliteStore
from longcall.broker.errors import BrokerError, NotFound
from longcall.broker.wire import Wire
from longcall.testing.clock import VirtualClock

PROJECT, TOPIC = "projects/p", "projects/p/topics/top"
IDS = st.sampled_from(["state", "other"])
AVRO, JSON = 2, 1


def avro(*names: str) -> Any:
    fields = [{"name": name, "type": "string", "default": ""} for name in names]
    definition = json.dumps({"type": "record", "name": "State", "fields": fields})
    return Wire.Schema(type_=AVRO, definition=definition)


def _contents(state: BrokerState) -> Any:
    schemas = {
        name: ([(each.number, each.body.SerializeToString()) for each in schema.revisions], schema.deleted)
        for name, schema in state.schemas.items()
    }
    return schemas, {name: topic.body.SerializeToString() for name, topic in state.topics.items()}


class Registry(RuleBasedStateMachine):
    """Any sequence of changes."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._store = SqliteStore(Path(self._folder.name))
        self._core = BrokerCore(self._store, VirtualClock())

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        with suppress(BrokerError):
            self._loop.run_until_complete(coroutine)

    def _revision_name(self, schema_id: str, choice: int) -> str:
        name = f"{PROJECT}/schemas/{schema_id}"
        schema = self._core.state.schemas.get(name)
        known = [each.body.revision_id for each in schema.revisions] + [*schema.deleted] if schema else ["0"]
        return f"{name}@{known[choice % len(known)]}"

    @initialize()
    def open(self) -> None:
        self._core.load(self._store.open())

    @rule(schema_id=IDS)
    def create(self, schema_id: str) -> None:
        self._run(self._core.schemas.create(PROJECT, schema_id, avro("a")))

    @rule(schema_id=IDS, names=st.sets(st.sampled_from("abc")))
    def commit(self, schema_id: str, names: set[str]) -> None:
        self._run(self._core.schemas.commit(f"{PROJECT}/schemas/{schema_id}", avro(*sorted(names))))

    @rule(schema_id=IDS, choice=st.integers(0, 30))
    def roll_back(self, schema_id: str, choice: int) -> None:
        name, _, revision_id = self._revision_name(schema_id, choice).partition("@")
        self._run(self._core.schemas.rollback(name, revision_id))

    @rule(schema_id=IDS, choice=st.integers(0, 30))
    def delete_revision(self, schema_id: str, choice: int) -> None:
        self._run(self._core.schemas.delete_revision(self._revision_name(schema_id, choice)))

    @rule(schema_id=IDS)
    def delete(self, schema_id: str) -> None:
        self._run(self._core.schemas.delete(f"{PROJECT}/schemas/{schema_id}"))

    @rule(schema_id=IDS, choice=st.integers(0, 30))
    def bind_topic(self, schema_id: str, choice: int) -> None:
        name, _, revision_id = self._revision_name(schema_id, choice).partition("@")
        settings = {"schema": name, "encoding": JSON, "first_revision_id": revision_id}
        self._run(self._core.topics.create(Wire.Topic(name=TOPIC, schema_settings=settings)))

    @rule()
    def start_again(self) -> None:
        before = _contents(self._core.state)
        self._store.close()
        self._core = BrokerCore(self._store, VirtualClock())
        self._core.load(self._store.open())
        assert _contents(self._core.state) == before

    @invariant()
    def every_schema_has_one_to_twenty_revisions_in_order(self) -> None:
        for name, schema in self._core.state.schemas.items():
            numbers = [each.number for each in schema.revisions]
            assert 1 <= len(numbers) <= 20
            assert numbers == sorted(set(numbers))
            assert {each.body.name for each in schema.revisions} == {name}

    def teardown(self) -> None:
        self.start_again()
        self._store.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._folder.cleanup()


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)


def _core() -> BrokerCore:
    return BrokerCore(MemoryStore(), VirtualClock())


async def test_commit_to_a_schema_that_is_deleted_meanwhile_is_refused() -> None:
    core = _core()
    await core.schemas.create(PROJECT, "state", avro("a"))
    committing = asyncio.create_task(core.schemas.commit(f"{PROJECT}/schemas/state", avro("b")))
    await asyncio.wait({committing}, timeout=0)  # it compiles
    await core.schemas.delete(f"{PROJECT}/schemas/state")
    with pytest.raises(NotFound):
        await committing
    assert core.state.schemas == {}


async def test_publish_on_a_topic_that_is_deleted_meanwhile_is_refused() -> None:
    core = _core()
    await core.schemas.create(PROJECT, "state", avro("a"))
    settings = {"schema": f"{PROJECT}/schemas/state", "encoding": JSON}
    await core.topics.create(Wire.Topic(name=TOPIC, schema_settings=settings))
    large = Wire.PubsubMessage(data=json.dumps({"a": "x" * 100_000}).encode())
    publishing = asyncio.create_task(core.traffic.publish(TOPIC, [large], request_bytes=100_000))
    await asyncio.wait({publishing}, timeout=0)  # it is checked, in a thread
    await core.topics.delete(TOPIC)
    with pytest.raises(NotFound):
        await publishing


async def test_definition_is_compiled_once_for_all_who_wait() -> None:
    core = _core()
    await core.schemas.create(PROJECT, "state", avro("a"))
    revision = core.state.schema_revision(f"{PROJECT}/schemas/state")
    revision.compiled = None  # as after a restart
    settings = Wire.Topic(schema_settings={"schema": revision.body.name, "encoding": JSON}).schema_settings
    message = Wire.PubsubMessage(data=b'{"a": ""}')
    compiled = set()

    async def stamp() -> None:
        await core.schema_checks.stamped(settings, [message])
        compiled.add(id(revision.compiled))

    await asyncio.gather(*(stamp() for _ in range(5)))
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("first", "last", "numbers"),
    [
        ("", "", [9, 7, 5, 1]),
        ("r5", "", [9, 7, 5]),
        ("", "r5", [5, 1]),
        ("r5", "r7", [7, 5]),
        ("d3", "", [9, 7, 5]),
        ("", "d3", [1]),
        ("d3", "d3", []),
        ("r1", "d8", [7, 5, 1]),
    ],
)
def test_range_of_revisions(first: str, last: str, numbers: list[int]) -> None:
    revisions = [Revision(number, Wire.Schema(revision_id=f"r{number}")) for number in (1, 5, 7, 9)]
    schema = ActiveSchema("projects/p/schemas/s", revisions, {"d3": 3, "d8": 8})
    assert [each.number for each in schema.between(first, last)] == numbers
