"""Schemas of messages: what one must be, whatever its language, and how a refusal reads.

Rests on the comments of `schema.proto` and the pages "Schema overview" and "Commit a schema
revision"; messages and details are the real service's, as far as they were recorded.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol, Self

from google.rpc.error_details_pb2 import ErrorInfo

from longcall._core.errors import LongcallError
from longcall.broker.errors import InvalidArgument, NotFound
from longcall.broker.protos import PubsubMessage, Schema, SchemaSettings
from longcall.broker.rules.names import check_name
from longcall.broker.wire import Wire

__all__ = [
    "DELETED_SCHEMA",
    "MAX_REVISIONS",
    "CompiledSchema",
    "Encoding",
    "Mismatch",
    "SchemaType",
    "basic_view",
    "check_schema",
    "check_settings",
    "descriptor_set_of",
    "failed_message",
    "incompatible_revision",
    "schema_not_found",
    "split_revision",
    "stamped_message",
]

DELETED_SCHEMA: Final = "_deleted-schema_"
MAX_REVISIONS: Final = 20
_MAX_DEFINITION_BYTES: Final = 300_000
_COMPILED: Final = "compiled_proto_schema"


class SchemaType(IntEnum):
    """`Schema.Type`."""

    PROTOCOL_BUFFER = 1
    AVRO = 2


class Encoding(IntEnum):
    """`Encoding` of the messages of a topic."""

    JSON = 1
    BINARY = 2


class Mismatch(LongcallError):
    """A message is not of a schema, or a revision cannot follow another; says why in one line."""


class CompiledSchema(Protocol):
    """A definition that messages are checked against."""

    def check_message(self, data: bytes, encoding: Encoding) -> None:
        """Return if `data` is a message of this schema.

        Raises:
            Mismatch: it is not.
        """
        ...

    def check_follows(self, earlier: Self) -> None:
        """Return if this may be a later revision of `earlier`.

        Raises:
            Mismatch: messages of the one would not be readable with the other.
        """
        ...


def check_schema(schema: Schema) -> None:
    """Return if a schema that a client sent has a type and a size; its definition is not looked at yet.

    Raises:
        InvalidArgument: no type, or more than 300 KB.
    """
    if schema.type_ not in tuple(SchemaType):
        raise InvalidArgument("Invalid schema type")
    size = schema.ByteSize()
    if size > _MAX_DEFINITION_BYTES:
        raise InvalidArgument(
            f"The value for schema is too large. You passed {size} in the request, "
            f"but the maximum value is {_MAX_DEFINITION_BYTES}."
        )


def check_settings(settings: SchemaSettings) -> None:
    """Return if a topic may have these schema settings; whether the schema is there is not looked at.

    Raises:
        InvalidArgument: the name is none, or there is no encoding.
    """
    check_name(settings.schema, "schemas")
    if settings.encoding not in tuple(Encoding):
        raise InvalidArgument("Invalid schema encoding provided: it must be JSON or BINARY.")


def split_revision(name: str) -> tuple[str, str]:
    """Return the schema and the revision of `projects/{project}/schemas/{id}[@{revision}]`.

    Raises:
        InvalidArgument: it is no such name.
    """
    schema, _, revision_id = name.partition("@")
    check_name(schema, "schemas")
    return schema, revision_id


def basic_view(schema: Schema) -> Schema:
    """Return a schema without its definition."""
    basic = Wire.Schema()
    basic.CopyFrom(schema)
    for field in ("definition", _COMPILED):
        if field in basic.DESCRIPTOR.fields_by_name:
            basic.ClearField(field)
    return basic


def descriptor_set_of(schema: Schema) -> tuple[bytes, str] | None:
    """Return what a client has compiled itself, and the name of its message; None: there is a definition.

    Older releases of google-cloud-pubsub do not know the field.
    """
    if _COMPILED not in schema.DESCRIPTOR.fields_by_name or not schema.HasField(_COMPILED):
        return None
    compiled = schema.compiled_proto_schema
    return compiled.compiled_bytes, compiled.root_message


def stamped_message(message: PubsubMessage, schema: Schema, encoding: Encoding) -> PubsubMessage:
    """Return a message with the attributes that say what it was checked against.

    Rests on the page "Publish messages to a topic with a schema".
    """
    stamped = Wire.PubsubMessage()
    stamped.CopyFrom(message)
    stamped.attributes["googclient_schemaencoding"] = encoding.name
    stamped.attributes["googclient_schemaname"] = schema.name
    stamped.attributes["googclient_schemarevisionid"] = schema.revision_id
    return stamped


def failed_message(schema: Schema, encoding: Encoding, why: str) -> InvalidArgument:
    """Return the refusal of a message, with the details that the real service sends.

    Args:
        schema: the oldest revision that it was checked against; without a name, one that is not kept.
        encoding: that the message should have.
        why: it is no message of that one.
    """
    error = InvalidArgument("Invalid data in message: Message failed schema validation.")
    language = "AVRO" if schema.type_ == SchemaType.AVRO else "PROTO"
    info = ErrorInfo(reason=f"INVALID_{encoding.name}_{language}_MESSAGE", domain="pubsub.googleapis.com")
    info.metadata["message"] = "Message failed schema validation"
    info.metadata["revisionInfo"] = (
        f"Could not validate message with any schema revision for schema: {schema.name}, "
        f"last checked revision: revision_id={schema.revision_id} failed with status: {why}"
        if schema.name
        else f"Could not validate message: {why}"
    )
    error.details = [info]
    return error


def incompatible_revision(name: str, revision_id: str, why: str) -> InvalidArgument:
    """Return the refusal of a revision that cannot follow `revision_id`."""
    return InvalidArgument(
        f'Compatibility checking failed to commit a schema revision for (schema="{name}"). '
        f'(reason="Revision is incompatible with previous revision: {revision_id}. '
        f'Failed with error: {why}"). '
        "Refer to https://cloud.google.com/pubsub/docs/schemas for more information."
    )


def schema_not_found(name: str) -> NotFound:
    """Return the refusal of a request for a schema or a revision that is not there."""
    return NotFound(f"Resource not found (resource={name.rpartition('/')[2][:300]}).")
