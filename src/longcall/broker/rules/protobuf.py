"""Protocol Buffers: compiled definitions, and messages checked against them.

Rests on the page "Schema overview" (one top-level message, no imports) and on what was recorded of the
real service: a binary message with a field that the revision does not have is refused; a revision must
fit every earlier one, by field number and type, and have the same values in its enums.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.schemas import Encoding, Mismatch

__all__ = ["ProtobufSchema", "load_protobuf", "only_message"]

_TYPE_NAMES: Final = {
    value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()
}


class ProtobufSchema:
    """A definition that messages are checked against. See `CompiledSchema`."""

    def __init__(self, root: Any, pool: Any) -> None:
        self._root = root
        self._pool = pool
        self._class = GetMessageClass(root)

    def check_message(self, data: bytes, encoding: Encoding) -> None:
        """Return if `data` is a message of this schema, without fields that the schema does not have."""
        message: Any = self._class()
        if encoding is Encoding.JSON:
            self._parse_json(data, message)
        else:
            _parse_binary(data, message)
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors())
            raise Mismatch(f"Required fields are missing: {missing[:200]}")
        if encoding is Encoding.BINARY:  # JSON with a field too many was not parsed
            _check_known(message)

    def check_follows(self, earlier: ProtobufSchema) -> None:
        """Return if fields and enums fit those of an earlier revision."""
        _Comparison().check_messages(earlier._root, self._root)

    def _parse_json(self, data: bytes, message: Any) -> None:
        try:
            text = data.decode()
            if not text.lstrip().startswith("{"):
                raise Mismatch("Message is not a JSON object.")
            json_format.Parse(text, message, descriptor_pool=self._pool)
        except (json_format.ParseError, ValueError, RecursionError) as error:
            raise Mismatch(f"Message is not JSON of this schema: {str(error)[:300]}") from error


def load_protobuf(descriptor_set: bytes, root_message: str) -> ProtobufSchema:
    """Load a compiled definition.

    Args:
        descriptor_set: a serialized `FileDescriptorSet`, with everything that it imports.
        root_message: complete name of the type of the messages.

    Raises:
        InvalidArgument: it is none, or does not have that type.
    """
    try:
        files = DescriptorDatabase()
        for file in FileDescriptorSet.FromString(descriptor_set).file:
            files.Add(file)
        pool = DescriptorPool(files)
        return ProtobufSchema(pool.FindMessageTypeByName(root_message), pool)
    except KeyError as error:
        raise InvalidArgument(
            f"Could not parse schema definition: there is no message {root_message[:200]!r}, "
            "or a type or file that it needs is missing"
        ) from error
    except (DecodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"Could not parse schema definition: {str(error)[:300]}") from error


def only_message(descriptor_set: bytes) -> str:
    """Return the complete name of the one top-level message of a compiled file.

    Raises:
        InvalidArgument: there is none, or more than one, or the file imports others.
    """
    (file,) = FileDescriptorSet.FromString(descriptor_set).file
    if len(file.message_type) != 1:
        raise InvalidArgument(
            "Could not parse schema definition: it must have exactly one top-level message, "
            f"and has {len(file.message_type)}; put the others into it"
        )
    name = file.message_type[0].name
    return f"{file.package}.{name}" if file.package else str(name)


def _parse_binary(data: bytes, message: Any) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Mismatch(str(error)[:300]) from error


def _check_known(message: Any) -> None:
    """Return if the parser knew all that it found. What it did not know is dropped from the message."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        raise Mismatch("Message has fields, or values of enums, that the schema does not have.")


class _Comparison:
    """Compares two revisions, type by type, each pair once: definitions refer to themselves."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def check_messages(self, root: Any, other_root: Any) -> None:
        waiting = [(root, other_root)]
        while waiting:
            old, new = waiting.pop()
            if (old.full_name, new.full_name) in self._seen:
                continue
            self._seen.add((old.full_name, new.full_name))
            labels = _labels(old), _labels(new)
            for number in {*old.fields_by_number, *new.fields_by_number}:
                before, after = old.fields_by_number.get(number), new.fields_by_number.get(number)
                if before is None or after is None:
                    if labels[before is None][number] != "optional":
                        name = (before or after).full_name
                        raise Mismatch(f"{name} is not optional and is missing in one of them")
                    continue
                _check_same(before, after, (labels[0][number], labels[1][number]))
                if before.message_type is not None:
                    waiting.append((before.message_type, after.message_type))
                elif before.enum_type is not None:
                    _check_enum(before.enum_type, after.enum_type)
                    _check_enum(after.enum_type, before.enum_type)


def _labels(message: Any) -> dict[int, str]:
    """Return by number which fields are `optional`, `required` or `repeated`."""
    described = DescriptorProto()
    message.CopyToProto(described)
    return {
        field.number: FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
        for field in described.field
    }


def _check_same(before: Any, after: Any, labels: tuple[str, str]) -> None:
    for what, of_before, of_after in (
        ("type", _TYPE_NAMES[before.type], _TYPE_NAMES[after.type]),
        ("label", *labels),
        ("name", before.name, after.name),
    ):
        if of_before != of_after:
            raise Mismatch(
                f"{after.full_name} of {what} {of_after} is not compatible with "
                f"{before.full_name} of {what} {of_before}"
            )


def _check_enum(known: Any, other: Any) -> None:
    for name, value in other.values_by_name.items():
        if name not in known.values_by_name or known.values_by_name[name].number != value.number:
            raise Mismatch(f"{value.name} = {value.number} is missing in {known.full_name}")
