"""Schemas and their revisions as Google's own Python client sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from google.pubsub_v1.types import Schema, SchemaView
from tests.e2e.schema_clients import (
    AVRO,
    JSON,
    NAME,
    PROJECT,
    PROTO,
    PROTO_V1,
    SCHEMA,
    V1,
    V2,
    Google,
    avro,
    google_clients,
)

from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock


@pytest.fixture
def google() -> Iterator[Google]:
    with running_broker(clock=VirtualClock()) as address, google_clients(address) as clients:
        yield clients


# Schemas


def test_schema_is_created_and_shown(google: Google) -> None:
    created = google.create()
    assert (created.name, created.type_, created.definition) == (SCHEMA, AVRO, V1)
    assert len(created.revision_id) == 8
    assert int(created.revision_id, 16) >= 0
    assert created.revision_create_time
    assert google.schemas.get_schema(name=SCHEMA) == created
    assert google.schemas.get_schema(name=f"{SCHEMA}@{created.revision_id}") == created
    basic = google.schemas.get_schema(request={"name": SCHEMA, "view": SchemaView.BASIC})
    assert (basic.name, basic.type_, basic.definition) == (SCHEMA, AVRO, "")
    google.schemas.delete_schema(name=SCHEMA)
    for name in (SCHEMA, f"{SCHEMA}@{created.revision_id}"):
        with pytest.raises(NotFound, match="Resource not found"):
            google.schemas.get_schema(name=name)


@pytest.mark.parametrize("schema_id", ["", "ab", "goog-x", "1abc", "a@b"])
def test_schema_id_that_is_none(google: Google, schema_id: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Invalid \[schemas\] name"):
        google.create(schema_id=schema_id)


@pytest.mark.parametrize(
    ("kind", "definition", "why"),
    [
        (AVRO, "{", "Could not parse schema definition"),
        (AVRO, "", "Could not parse schema definition"),
        (PROTO, "nonsense", "Could not parse schema definition"),
        (PROTO, PROTO_V1 + " message Other {}", "exactly one top-level message"),
        (PROTO, 'import "/etc/passwd"; message A {}', "Imports are not supported"),
        (Schema.Type.TYPE_UNSPECIFIED, V1, "Invalid schema type"),
        (AVRO, json.dumps({"type": "string", "doc": "x" * 300_000}), "maximum value is 300000"),
    ],
)
def test_schema_that_is_none(google: Google, kind: Any, definition: str, why: str) -> None:
    schema = {"type_": kind, "definition": definition}
    with pytest.raises(InvalidArgument, match=why):
        google.create(definition, kind)
    with pytest.raises(InvalidArgument, match=why):
        google.schemas.validate_schema(parent=PROJECT, schema=schema)
    with pytest.raises(InvalidArgument, match=why):
        google.schemas.validate_message(
            request={"parent": PROJECT, "schema": schema, "message": b"", "encoding": JSON}
        )
    with pytest.raises(NotFound):
        google.schemas.get_schema(name=SCHEMA)


@pytest.mark.parametrize(("kind", "definition"), [(AVRO, V1), (PROTO, PROTO_V1)])
def test_validated_schema_is_not_kept(google: Google, kind: Any, definition: str) -> None:
    google.schemas.validate_schema(parent=PROJECT, schema={"type_": kind, "definition": definition})
    assert not list(google.schemas.list_schemas(parent=PROJECT))


def test_schema_that_is_there_cannot_be_created(google: Google) -> None:
    google.create()
    with pytest.raises(AlreadyExists, match="Resource already exists"):
        google.create(V2)


def test_schemas_are_listed_in_pages_without_their_definitions(google: Google) -> None:
    ids = [f"schema-{n}" for n in range(5)]
    for schema_id in reversed(ids):
        google.create(schema_id=schema_id)
    pages = list(google.schemas.list_schemas(request={"parent": PROJECT, "page_size": 2}).pages)
    assert [len(page.schemas) for page in pages] == [2, 2, 1]
    shown = [schema for page in pages for schema in page.schemas]
    assert [schema.name for schema in shown] == [f"{PROJECT}/schemas/{schema_id}" for schema_id in ids]
    assert {schema.definition for schema in shown} == {""}
    full = google.schemas.list_schemas(request={"parent": PROJECT, "view": SchemaView.FULL})
    assert {schema.definition for schema in full} == {V1}
    assert not list(google.schemas.list_schemas(parent="projects/other"))
    with pytest.raises(InvalidArgument, match="page_token"):
        google.schemas.list_schemas(request={"parent": PROJECT, "page_token": "x"})


# Revisions


def test_revisions_are_committed_listed_and_rolled_back_to(google: Google) -> None:
    first, second = google.create(V1), google.commit(V2)
    assert google.schemas.get_schema(name=SCHEMA) == second
    third = google.schemas.rollback_schema(name=SCHEMA, revision_id=first.revision_id)
    assert third.definition == V1
    listed = google.schemas.list_schema_revisions(request={"name": SCHEMA, "page_size": 2})
    ids = [first.revision_id, second.revision_id, third.revision_id]
    assert [schema.revision_id for schema in listed] == ids
    assert len(set(ids)) == 3
    assert [schema.revision_id for schema in google.schemas.list_schemas(parent=PROJECT)] == ids[2:]


def test_revision_that_does_not_fit_is_refused(google: Google) -> None:
    first = google.create(V1)
    with pytest.raises(InvalidArgument) as refused:
        google.commit(avro(NAME, {"name": "bird", "type": "string"}))
    assert refused.value.message == (
        f'Compatibility checking failed to commit a schema revision for (schema="{SCHEMA}"). '
        f'(reason="Revision is incompatible with previous revision: {first.revision_id}. '
        'Failed with error: State.bird is missing in one of them and has no default"). '
        "Refer to https://cloud.google.com/pubsub/docs/schemas for more information."
    )
    with pytest.raises(InvalidArgument, match="Invalid schema type"):
        google.commit(PROTO_V1, PROTO)
    with pytest.raises(InvalidArgument, match="Could not parse schema definition"):
        google.commit("{")
    assert google.schemas.get_schema(name=SCHEMA) == first


def test_revision_must_fit_all_earlier_ones(google: Google) -> None:
    google.create('syntax = "proto3"; message S { string a = 1; string device = 2; }', PROTO)
    google.commit('syntax = "proto3"; message S { string a = 1; }', PROTO)
    with pytest.raises(
        InvalidArgument, match=r"S\.id of type int64 is not compatible with S\.device of type string"
    ):
        google.commit('syntax = "proto3"; message S { string a = 1; int64 id = 2; }', PROTO)


def test_there_are_twenty_revisions_at_most(google: Google) -> None:
    first = google.create()
    for _ in range(19):
        google.commit(V1)
    for add in (
        lambda: google.commit(V1),
        lambda: google.schemas.rollback_schema(name=SCHEMA, revision_id=first.revision_id),
    ):
        with pytest.raises(ResourceExhausted, match="maximum number of schema revisions"):
            add()
    google.schemas.delete_schema_revision(name=f"{SCHEMA}@{first.revision_id}")
    google.commit(V1)


def test_last_revision_cannot_be_deleted(google: Google) -> None:
    first, second = google.create(V1), google.commit(V2)
    deleted = google.schemas.delete_schema_revision(name=f"{SCHEMA}@{first.revision_id}")
    assert deleted.revision_id == first.revision_id
    with pytest.raises(NotFound):
        google.schemas.delete_schema_revision(name=f"{SCHEMA}@{first.revision_id}")
    with pytest.raises(InvalidArgument, match="Cannot delete last revision"):
        google.schemas.delete_schema_revision(name=f"{SCHEMA}@{second.revision_id}")
    with pytest.raises(InvalidArgument, match=r"Invalid \[schemas\] name"):
        google.schemas.delete_schema_revision(name=SCHEMA)


@pytest.mark.parametrize("name", [f"{PROJECT}/schemas/other", f"{SCHEMA}@00000000"])
def test_schema_or_revision_that_is_not_there(google: Google, name: str) -> None:
    google.create()
    schema, _, revision_id = name.partition("@")
    with pytest.raises(NotFound):
        google.schemas.get_schema(name=name)
    with pytest.raises(NotFound):
        google.schemas.rollback_schema(name=schema, revision_id=revision_id or "00000000")
    with pytest.raises(InvalidArgument, match="Missing revision ID"):
        google.schemas.rollback_schema(name=SCHEMA, revision_id="")
    with pytest.raises(NotFound):
        google.schemas.delete_schema_revision(name=f"{schema}@00000000")
    with pytest.raises(NotFound):
        google.schemas.validate_message(
            request={"parent": PROJECT, "name": name, "message": b"{}", "encoding": JSON}
        )
