"""Schemas: create, list, delete; commit revisions, roll back to them, delete them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from longcall.broker.core.schema import ActiveSchema, Revision, saved_revision
from longcall.broker.core.schema_compiler import SchemaCompiler
from longcall.broker.core.state import BrokerState, refuse_existing
from longcall.broker.core.topics import saved_topic
from longcall.broker.errors import InvalidArgument, ResourceExhausted
from longcall.broker.protos import Schema
from longcall.broker.rules.names import check_name, check_project, project_of
from longcall.broker.rules.schemas import (
    DELETED_SCHEMA,
    MAX_REVISIONS,
    CompiledSchema,
    Mismatch,
    incompatible_revision,
    schema_not_found,
    split_revision,
)
from longcall.broker.wire import Wire

__all__ = ["Schemas"]


class Schemas:
    """The schemas of a broker. Changes return when they are durable."""

    def __init__(self, state: BrokerState, compiler: SchemaCompiler) -> None:
        self._state = state
        self._compiler = compiler
        self._changing = asyncio.Lock()

    async def create(self, parent: str, schema_id: str, wanted: Schema) -> Schema:
        """Create a schema with its first revision.

        Raises:
            InvalidArgument: the name or the definition is none.
            AlreadyExists: the schema is there.
        """
        check_project(parent)
        name = check_name(f"{parent}/schemas/{schema_id}", "schemas")
        refuse_existing(name, self._state.schemas)
        compiled = await self._compiler.compile(wanted)
        refuse_existing(name, self._state.schemas)
        schema = self._state.schemas[name] = ActiveSchema(name)
        return await self._add(schema, wanted, compiled)

    def get(self, name: str) -> Schema:
        """Return the revision that a name says, or else the newest one, or raise NotFound."""
        return self._state.schema_revision(name).body

    def list(self, project: str) -> list[Schema]:
        """Return the newest revision of each schema of a project, by name."""
        schemas = sorted(self._state.schemas.items())
        return [schema.newest.body for name, schema in schemas if project_of(name) == project]

    def revisions(self, name: str) -> Sequence[Revision]:
        """Return the revisions of a schema, oldest first, or raise NotFound."""
        return list(self._state.schema(name).revisions)

    async def validate(self, schema: Schema) -> None:
        """Return if a schema could be created, or raise InvalidArgument."""
        await self._compiler.compile(schema)

    async def delete(self, name: str) -> None:
        """Delete a schema. Its topics stay, and nothing more can be published on them."""
        schema = self._state.schema(name)
        del self._state.schemas[name]
        writes = [*schema.gone()]
        for topic in self._state.topics.values():
            if topic.body.schema_settings.schema == name:
                topic.body.schema_settings.schema = DELETED_SCHEMA
                writes.append(saved_topic(topic))
        await self._state.store.write(writes)

    async def commit(self, name: str, wanted: Schema) -> Schema:
        """Add a revision.

        Raises:
            NotFound: the schema is not there.
            InvalidArgument: the definition is none, of another type, or does not fit an earlier revision.
            ResourceExhausted: there are 20 revisions.
        """
        schema = self._state.schema(name)
        if wanted.type_ != schema.newest.body.type_:
            raise InvalidArgument("Invalid schema type: a revision has the type of its schema.")
        compiled = await self._compiler.compile(wanted)
        async with self._changing:
            for earlier in reversed(list(schema.revisions)):
                earlier_compiled = await self._compiler.compiled(earlier)
                try:
                    await asyncio.to_thread(compiled.check_follows, earlier_compiled)
                except Mismatch as error:
                    raise incompatible_revision(name, earlier.body.revision_id, str(error)) from error
            return await self._add(schema, wanted, compiled)

    async def rollback(self, name: str, revision_id: str) -> Schema:
        """Add a revision that is a copy of an earlier one.

        Raises:
            NotFound: the schema or the revision is not there.
            ResourceExhausted: there are 20 revisions.
        """
        schema = self._state.schema(name)
        if not revision_id:
            raise InvalidArgument("Missing revision ID")
        old = self._state.schema_revision(f"{name}@{revision_id}")
        return await self._add(schema, old.body, old.compiled)

    async def delete_revision(self, name: str) -> Schema:
        """Delete the revision that the name says, and return it.

        Raises:
            InvalidArgument: the name says none, or it is the last one.
            NotFound: it is not there.
        """
        if not split_revision(name)[1]:
            raise InvalidArgument(
                f"Invalid [schemas] name: (name={name[:300]}): it must end in @ and a revision."
            )
        revision = self._state.schema_revision(name)
        schema = self._state.schema(revision.body.name)
        if len(schema.revisions) == 1:
            raise InvalidArgument("Cannot delete last revision. Please use DeleteSchema.")
        await self._state.store.write(schema.delete(revision))
        return revision.body

    async def _add(self, schema: ActiveSchema, wanted: Schema, compiled: CompiledSchema | None) -> Schema:
        if self._state.schemas.get(schema.name) is not schema:  # deleted while it was compiled
            raise schema_not_found(schema.name)
        if len(schema.revisions) >= MAX_REVISIONS:
            raise ResourceExhausted("Already at maximum number of schema revisions")
        revision_id = secrets.token_hex(4)
        while schema.has_had(revision_id):
            revision_id = secrets.token_hex(4)
        body = Wire.Schema()
        body.CopyFrom(wanted)
        body.name = schema.name
        body.revision_id = revision_id
        body.revision_create_time.FromDatetime(self._state.clock.now())
        revision = Revision(next(self._state.serials), body, compiled)
        schema.revisions.append(revision)
        await self._state.store.write([saved_revision(revision)])
        return body
