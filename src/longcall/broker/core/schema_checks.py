"""Messages checked against schemas: those of a topic as they are published, and those of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from longcall.broker.core.schema import ActiveSchema
from longcall.broker.core.schema_compiler import SchemaCompiler
from longcall.broker.core.state import BrokerState
from longcall.broker.errors import InvalidArgument, NotFound
from longcall.broker.protos import PubsubMessage, Schema, SchemaSettings
from longcall.broker.rules.schemas import (
    DELETED_SCHEMA,
    CompiledSchema,
    Encoding,
    Mismatch,
    check_settings,
    failed_message,
    stamped_message,
)

__all__ = ["SchemaChecks"]

_INLINE_BYTES: Final = 32_000
"""What is checked at once; more goes to a thread, so that the broker goes on serving."""


class SchemaChecks:
    """Checks against the schemas of a broker."""

    def __init__(self, state: BrokerState, compiler: SchemaCompiler) -> None:
        self._state = state
        self._compiler = compiler

    def check_settings(self, settings: SchemaSettings) -> None:
        """Return if a topic may have these schema settings.

        Raises:
            InvalidArgument: a name is none, there is no encoding, or the range of revisions is upside down.
            NotFound: the schema or a revision is not there.
        """
        check_settings(settings)
        schema = self._state.schema(settings.schema)
        first = _check_bound(schema, "First", settings.first_revision_id)
        last = _check_bound(schema, "Last", settings.last_revision_id)
        if first is not None and last is not None and first > last:
            raise InvalidArgument("First revision creation time is after last revision creation time")

    async def stamped(
        self, settings: SchemaSettings, messages: Sequence[PubsubMessage]
    ) -> Sequence[PubsubMessage]:
        """Return messages as they are published with these settings: with attributes that say their schema.

        Each is checked against the revisions that the settings allow, newest first.

        Raises:
            InvalidArgument: one message fits no revision; none is to be published.
            NotFound: the schema was deleted.
        """
        if settings.schema == DELETED_SCHEMA:
            raise NotFound("Schema associated with topic deleted.")
        schema, encoding = self._state.schema(settings.schema), Encoding(settings.encoding)
        fitting: dict[int, Schema] = {}
        last_checked, why = schema.newest.body, "no revision of the range is left"
        for revision in schema.between(settings.first_revision_id, settings.last_revision_id):
            compiled = await self._compiler.compiled(revision)
            left = [index for index in range(len(messages)) if index not in fitting]
            reasons = await _reasons(compiled, [messages[index].data for index in left], encoding)
            for index, reason in zip(left, reasons, strict=True):
                if reason is None:
                    fitting[index] = revision.body
            if len(fitting) == len(messages):
                return [stamped_message(m, fitting[index], encoding) for index, m in enumerate(messages)]
            last_checked, why = revision.body, next(reason for reason in reasons if reason is not None)
        raise failed_message(last_checked, encoding, why)

    async def check_message(self, schema: Schema | str, data: bytes, encoding: int) -> None:
        """Return if `data` is a message of a schema.

        Args:
            schema: name, which may say a revision; or a `Schema` that need not be kept.
            data: the message.
            encoding: a value of `Encoding`.

        Raises:
            InvalidArgument: it is not, or the schema is none.
            NotFound: the schema is not there.
        """
        if encoding not in tuple(Encoding):
            raise InvalidArgument("No encoding provided.")
        if isinstance(schema, str):
            revision = self._state.schema_revision(schema)
            body, compiled = revision.body, await self._compiler.compiled(revision)
        else:
            body, compiled = schema, await self._compiler.compile(schema)
        (why,) = await _reasons(compiled, [data], Encoding(encoding))
        if why is not None:
            raise failed_message(body, Encoding(encoding), why)


def _check_bound(schema: ActiveSchema, which: str, revision_id: str) -> int | None:
    """Return the number of a revision that bounds a range; None: that side is open."""
    if not revision_id:
        return None
    revision = schema.find(revision_id)
    if revision is None:
        raise NotFound(f"{which} revision could not be found")
    return revision.number


async def _reasons(
    compiled: CompiledSchema, messages: Sequence[bytes], encoding: Encoding
) -> list[str | None]:
    """Return why each message is not of the schema; None: it is."""

    def look() -> list[str | None]:
        return [_why_not(compiled, data, encoding) for data in messages]

    return look() if sum(map(len, messages)) <= _INLINE_BYTES else await asyncio.to_thread(look)


def _why_not(compiled: CompiledSchema, data: bytes, encoding: Encoding) -> str | None:
    try:
        compiled.check_message(data, encoding)
    except Mismatch as error:
        return str(error)
    return None
