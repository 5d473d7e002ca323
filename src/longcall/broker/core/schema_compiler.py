"""Definitions compiled: in threads, one at a time, each kept revision once."""

from __future__ import annotations

import asyncio

from longcall.broker.core.schema import Revision
from longcall.broker.errors import ResourceExhausted
from longcall.broker.protos import Schema
from longcall.broker.rules.schemas import CompiledSchema, SchemaType, check_schema, descriptor_set_of

__all__ = ["SchemaCompiler"]


class SchemaCompiler:
    """Compiles definitions, which may be large, and hostile. For one event loop."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def compile(self, schema: Schema) -> CompiledSchema:
        """Compile a schema that a client sent.

        Raises:
            InvalidArgument: it is none; says why.
            ResourceExhausted: the machine has no room for the compiler; retryable.
        """
        check_schema(schema)
        async with self._one_at_a_time:
            return await asyncio.to_thread(_compile_now, schema)

    async def compiled(self, revision: Revision) -> CompiledSchema:
        """Return a revision compiled; after a restart of the broker it is compiled when first needed."""
        # Not in line with those who compile: a hostile definition must not hold up publishers.
        if (compiled := revision.compiled) is not None:
            return compiled
        async with self._one_at_a_time:
            if (compiled := revision.compiled) is None:
                compiled = revision.compiled = await asyncio.to_thread(_compile_now, revision.body)
            return compiled


def _compile_now(schema: Schema) -> CompiledSchema:
    # The libraries are loaded with the first schema: most brokers never have one.
    if schema.type_ == SchemaType.AVRO:
        from longcall.broker.rules.avro import parse_avro

        return parse_avro(schema.definition)
    from longcall.broker.core.protoc import check_descriptor_set, compile_definition
    from longcall.broker.rules.protobuf import load_protobuf

    compiled = descriptor_set_of(schema)
    try:
        if compiled is None:
            compiled = compile_definition(schema.definition)
        else:
            check_descriptor_set(*compiled)
    except OSError as error:
        raise ResourceExhausted(f"The compiler could not be run: {error.strerror}; try again.") from error
    return load_protobuf(*compiled)
