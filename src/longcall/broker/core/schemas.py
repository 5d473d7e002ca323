"""The schemas of a broker: their revisions, kept in the store, and messages checked against them."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from longcall._core.clock import Clock
from longcall.broker.core.store import SavedState, Store, Write
from longcall.broker.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from longcall.broker.rules.names import check_name, check_project, project_of
from longcall.broker.rules.schemas import (
    DELETED_SCHEMA,
    MAX_REVISIONS,
    CompiledSchema,
    Encoding,
    Mismatch,
    SchemaType,
    check_schema,
    check_settings,
    failed_message,
    incompatible_revision,
    schema_not_found,
    split_revision,
    stamped_message,
)
from longcall.broker.wire import Wire

__all__ = ["SchemaRegistry"]

_INLINE_BYTES: Final = 32_000
"""What is checked at once; more goes to a thread, so that the broker goes on serving."""


@dataclass(slots=True, eq=False)
class _Revision:
    """One revision; `number` is higher than that of every earlier one."""

    number: int
    body: Any
    compiled: CompiledSchema | None = None


@dataclass(slots=True)
class _Schema:
    """Revisions, oldest first, and the numbers of deleted ones: topics may still name them."""

    revisions: list[_Revision] = field(default_factory=list)
    deleted: dict[str, int] = field(default_factory=dict)

    def number_of(self, revision_id: str) -> int | None:
        """Return where a revision is, or was, in the order; None: there was none."""
        known = {revision.body.revision_id: revision.number for revision in self.revisions}
        return known.get(revision_id, self.deleted.get(revision_id))


class SchemaRegistry:
    """All schemas of one broker. For one event loop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._schemas: dict[str, _Schema] = {}
        self._numbers = itertools.count(1)
        self._changing = asyncio.Lock()
        self._compiling = asyncio.Lock()

    def load(self, state: SavedState) -> None:
        """Take over what a store has kept. Definitions are compiled when they are first needed."""
        saved = sorted(state.of_kind("schema"), key=lambda resource: resource.number)
        for resource in saved:
            name, revision_id = split_revision(resource.name)
            schema = self._schemas.setdefault(name, _Schema())
            body = Wire.Schema.FromString(resource.body)
            if body.type_:
                schema.revisions.append(_Revision(resource.number, body))
            else:
                schema.deleted[revision_id] = resource.number
        self._numbers = itertools.count(max((resource.number for resource in saved), default=0) + 1)

    # Schemas

    async def create(self, parent: str, schema_id: str, wanted: Any) -> Any:
        """Create a schema with its first revision.

        Raises:
            InvalidArgument: the name or the definition is none.
            AlreadyExists: the schema is there.
        """
        check_project(parent)
        name = check_name(f"{parent}/schemas/{schema_id}", "schemas")
        compiled = await self._compile(wanted)
        if name in self._schemas:
            raise AlreadyExists(f"Resource already exists in the project (resource={schema_id}).")
        schema = self._schemas[name] = _Schema()
        return await self._add_revision(name, schema, wanted, compiled)

    def get(self, name: str) -> Any:
        """Return the revision that a name says, or else the newest one, or raise NotFound."""
        return self._revision(name).body

    def of_project(self, project: str) -> list[Any]:
        """Return the newest revision of each schema of a project, by name."""
        return [
            schema.revisions[-1].body
            for name, schema in sorted(self._schemas.items())
            if project_of(name) == project
        ]

    def numbered_revisions(self, name: str) -> list[tuple[int, Any]]:
        """Return the revisions of a schema, oldest first, each with a number that grows."""
        return [(revision.number, revision.body) for revision in self._schema(name).revisions]

    def remove(self, name: str) -> list[Write]:
        """Forget a schema; return what must be written."""
        schema = self._schema(name)
        del self._schemas[name]
        ids = [*(revision.body.revision_id for revision in schema.revisions), *schema.deleted]
        return [Write.resource_gone("schema", f"{name}@{revision_id}") for revision_id in ids]

    # Revisions

    async def commit(self, name: str, wanted: Any) -> Any:
        """Add a revision.

        Raises:
            InvalidArgument: the definition is none, of another type, or does not fit an earlier revision.
            ResourceExhausted: there are 20 revisions.
        """
        schema = self._schema(name)
        if wanted.type_ != schema.revisions[-1].body.type_:
            raise InvalidArgument("Invalid schema type: a revision has the type of its schema.")
        compiled = await self._compile(wanted)
        async with self._changing:
            for earlier in reversed(self._still(name, schema).revisions):
                earlier_compiled = await self._compiled(earlier)
                try:
                    await asyncio.to_thread(compiled.check_follows, earlier_compiled)
                except Mismatch as error:
                    raise incompatible_revision(name, earlier.body.revision_id, str(error)) from error
            return await self._add_revision(name, self._still(name, schema), wanted, compiled)

    async def rollback(self, name: str, revision_id: str) -> Any:
        """Add a revision that is a copy of an earlier one, or raise as `commit`, and NotFound."""
        schema = self._schema(name)
        if not revision_id:
            raise InvalidArgument("Missing revision ID")
        async with self._changing:
            old = self._revision(f"{name}@{revision_id}")
            return await self._add_revision(name, self._still(name, schema), old.body, old.compiled)

    async def delete_revision(self, name: str) -> Any:
        """Delete the revision that the name says, and return it.

        Raises:
            InvalidArgument: the name says none, or it is the last one.
            NotFound: it is not there.
        """
        schema_name, revision_id = split_revision(name)
        if not revision_id:
            raise InvalidArgument(
                f"Invalid [schemas] name: (name={name[:300]}): it must end in @ and a revision."
            )
        async with self._changing:
            schema = self._schema(schema_name)
            revision = self._revision(name)
            if len(schema.revisions) == 1:
                raise InvalidArgument("Cannot delete last revision. Please use DeleteSchema.")
            schema.revisions.remove(revision)
            schema.deleted[revision_id] = revision.number
            mark = Wire.Schema(name=schema_name, revision_id=revision_id).SerializeToString()
            await self._store.write([Write.resource("schema", name, mark, number=revision.number)])
            return revision.body

    # Checks

    async def validate(self, schema: Any) -> None:
        """Return if a schema could be created, or raise InvalidArgument."""
        await self._compile(schema)

    async def validate_message(self, schema: Any, data: bytes, encoding: int) -> None:
        """Return if `data` is a message of a schema.

        Args:
            schema: name, which may say a revision; or a schema that need not be kept.
            data: the message.
            encoding: a value of `Encoding`.

        Raises:
            InvalidArgument: it is not, or the schema is none.
            NotFound: the schema is not there.
        """
        if encoding not in tuple(Encoding):
            raise InvalidArgument("No encoding provided.")
        if isinstance(schema, str):
            revision = self._revision(schema)
            body, compiled = revision.body, await self._compiled(revision)
        else:
            body, compiled = schema, await self._compile(schema)
        (why,) = await _reasons(compiled, [data], Encoding(encoding))
        if why is not None:
            raise failed_message(
                SchemaType(body.type_), Encoding(encoding), why, name=body.name, revision_id=body.revision_id
            )

    def check_settings(self, settings: Any) -> None:
        """Return if a topic may have these schema settings.

        Raises:
            InvalidArgument: a name is none, there is no encoding, or the range of revisions is upside down.
            NotFound: the schema or a revision is not there.
        """
        check_settings(settings)
        schema = self._schema(settings.schema)
        first = self._check_bound(schema, "First", settings.first_revision_id)
        last = self._check_bound(schema, "Last", settings.last_revision_id)
        if first is not None and last is not None and first > last:
            raise InvalidArgument("First revision creation time is after last revision creation time")

    async def stamped(self, topic: Any, messages: Sequence[Any]) -> Sequence[Any]:
        """Return the messages as they are published on a topic: with attributes that say their schema.

        Each is checked against the revisions that the topic allows, newest first. Without schema
        settings, the messages are returned as they are.

        Raises:
            InvalidArgument: one message fits no revision; none is to be published.
            NotFound: the schema was deleted.
        """
        if not topic.HasField("schema_settings"):
            return messages
        settings = topic.schema_settings
        if settings.schema == DELETED_SCHEMA:
            raise NotFound("Schema associated with topic deleted.")
        encoding = Encoding(settings.encoding)
        fitting: dict[int, Any] = {}
        left = list(range(len(messages)))
        why, body = "no revision is left", Wire.Schema(name=settings.schema, type_=SchemaType.AVRO)
        for revision in self._allowed(settings):
            compiled = await self._compiled(revision)
            reasons = await _reasons(compiled, [messages[index].data for index in left], encoding)
            body = revision.body
            why = next((reason for reason in reasons if reason is not None), why)
            fitting |= {index: body for index, reason in zip(left, reasons, strict=True) if reason is None}
            left = [index for index in left if index not in fitting]
            if not left:
                return [
                    stamped_message(message, fitting[index], encoding)
                    for index, message in enumerate(messages)
                ]
        raise failed_message(
            SchemaType(body.type_), encoding, why, name=settings.schema, revision_id=body.revision_id
        )

    def _allowed(self, settings: Any) -> list[_Revision]:
        """Return the revisions that a topic allows, newest first.

        In place of a deleted bound stands its neighbour inside the range: see "Delete a schema revision".
        """
        schema = self._schema(settings.schema)
        first = schema.number_of(settings.first_revision_id)
        last = schema.number_of(settings.last_revision_id)
        return [
            revision
            for revision in reversed(schema.revisions)
            if (first is None or revision.number >= first) and (last is None or revision.number <= last)
        ]

    def _check_bound(self, schema: _Schema, which: str, revision_id: str) -> int | None:
        if not revision_id:
            return None
        for revision in schema.revisions:
            if revision.body.revision_id == revision_id:
                return revision.number
        raise NotFound(f"{which} revision could not be found")

    def _schema(self, name: str) -> _Schema:
        check_name(name, "schemas")
        schema = self._schemas.get(name)
        if schema is None:
            raise schema_not_found(name)
        return schema

    def _still(self, name: str, schema: _Schema) -> _Schema:
        """Return the schema unless it was deleted meanwhile, and perhaps made anew."""
        if self._schemas.get(name) is not schema:
            raise schema_not_found(name)
        return schema

    def _revision(self, name: str) -> _Revision:
        schema_name, revision_id = split_revision(name)
        revisions = self._schema(schema_name).revisions
        if "@" not in name:
            return revisions[-1]
        for revision in revisions:
            if revision.body.revision_id == revision_id:
                return revision
        raise schema_not_found(name)

    async def _add_revision(
        self, name: str, schema: _Schema, wanted: Any, compiled: CompiledSchema | None
    ) -> Any:
        if len(schema.revisions) >= MAX_REVISIONS:
            raise ResourceExhausted("Already at maximum number of schema revisions")
        body = Wire.Schema()
        body.CopyFrom(wanted)
        body.name = name
        body.revision_id = next(
            revision_id
            for revision_id in iter(lambda: secrets.token_hex(4), None)
            if schema.number_of(revision_id) is None
        )
        body.revision_create_time.FromDatetime(self._clock.now())
        revision = _Revision(next(self._numbers), body, compiled)
        schema.revisions.append(revision)
        await self._store.write(
            [
                Write.resource(
                    "schema", f"{name}@{body.revision_id}", body.SerializeToString(), number=revision.number
                )
            ]
        )
        return body

    async def _compiled(self, revision: _Revision) -> CompiledSchema:
        """Return a revision compiled, once for all who ask."""
        async with self._compiling:
            if revision.compiled is None:
                kind = SchemaType(revision.body.type_)
                revision.compiled = await asyncio.to_thread(_compile_now, kind, revision.body)
            return revision.compiled

    async def _compile(self, schema: Any) -> CompiledSchema:
        """Compile a definition in a thread, one at a time: they may be large, and hostile."""
        kind = check_schema(schema)
        async with self._compiling:
            return await asyncio.to_thread(_compile_now, kind, schema)


def _compile_now(kind: SchemaType, schema: Any) -> CompiledSchema:
    # The libraries are loaded with the first schema: most brokers never have one.
    if kind is SchemaType.AVRO:
        from longcall.broker.rules.avro import parse_avro

        return parse_avro(schema.definition)
    from longcall.broker.core.protoc import check_descriptor_set, compile_definition
    from longcall.broker.rules.protobuf import load_protobuf

    if schema.WhichOneof("configuration") == "compiled_proto_schema":
        descriptor_set = schema.compiled_proto_schema.compiled_bytes
        root = schema.compiled_proto_schema.root_message
        check_descriptor_set(descriptor_set, root)
        return load_protobuf(descriptor_set, root)
    return load_protobuf(*compile_definition(schema.definition))


def _why_not(compiled: CompiledSchema, data: bytes, encoding: Encoding) -> str | None:
    """Return why data is no message of a schema; None: it is."""
    try:
        compiled.check_message(data, encoding)
    except Mismatch as error:
        return str(error)
    return None


async def _reasons(
    compiled: CompiledSchema, messages: Sequence[bytes], encoding: Encoding
) -> list[str | None]:
    """Return why each message is not of the schema; None: it is."""

    def look() -> list[str | None]:
        return [_why_not(compiled, data, encoding) for data in messages]

    return look() if sum(map(len, messages)) <= _INLINE_BYTES else await asyncio.to_thread(look)
