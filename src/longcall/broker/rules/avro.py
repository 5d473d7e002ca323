"""Avro: definitions by fastavro, and messages checked against them without building their values.

fastavro's own readers are not for messages of strangers: the compiled one ends the process on a deep
enough recursion, `array` of `null` lets six bytes fill the memory, and the JSON one checks no types.
So a parsed definition becomes nodes that walk over a message; each step consumes input.

Rests on the Avro 1.11 specification.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.avro_nodes import (
    ArrayNode,
    Cursor,
    EnumNode,
    Field,
    FixedNode,
    MapNode,
    Node,
    PrimitiveNode,
    RecordNode,
    UnionNode,
)
from longcall.broker.rules.avro_resolution import check_resolves
from longcall.broker.rules.schemas import Encoding, Mismatch

__all__ = ["AvroSchema", "parse_avro"]

_MAX_DEPTH: Final = 200
"""Of the JSON of a definition. fastavro's parser recurses in C, where nothing else bounds it."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class AvroSchema:
    """A definition that messages are checked against. See `CompiledSchema`."""

    def __init__(self, root: Node) -> None:
        self._root = root

    def check_message(self, data: bytes, encoding: Encoding) -> None:
        """Return if `data` is a message of this schema, from its first byte to its last."""
        try:
            if encoding is Encoding.JSON:
                self._root.accept(_json_of(data))
                return
            cursor = Cursor(data)
            self._root.skip(cursor)
        except RecursionError as error:
            raise Mismatch("Message is nested too deeply") from error
        if cursor.at < len(data):
            raise Mismatch("Too much data to parse for schema.")

    def check_follows(self, earlier: AvroSchema) -> None:
        """Return if either can read what the other has written."""
        try:
            check_resolves(earlier._root, self._root)
            check_resolves(self._root, earlier._root)
        except RecursionError as error:
            raise Mismatch("types refer to each other too deeply") from error


def parse_avro(definition: str) -> AvroSchema:
    """Parse a definition.

    Raises:
        InvalidArgument: it is none; says why.
    """
    try:
        tree = json.loads(definition)
        _check_depth(tree)
        # The wrapper keeps fastavro from trusting marks that say that it has parsed this before.
        wrapped: Any = fastavro.parse_schema({"type": "array", "items": tree})
        return AvroSchema(_Builder().node(wrapped["items"]))
    except _Unfit as error:
        raise _refusal(str(error)) from error
    except UnknownType as error:
        raise _refusal(f"unknown type: {str(error.name)[:200]}") from error
    except KeyError as error:
        raise _refusal(f"a type lacks its {error}") from error
    except (SchemaParseException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _refusal(str(error)[:300]) from error


def _refusal(why: str) -> InvalidArgument:
    return InvalidArgument(f"Could not parse schema definition: {why}")


class _Unfit(Exception):
    """What fastavro lets through and the specification does not."""


def _check_depth(tree: object) -> None:
    level: list[Any] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise _Unfit(f"it is nested more than {_MAX_DEPTH} deep")


class _Builder:
    """Makes nodes of what fastavro has parsed; names are complete, and defined before they are used."""

    def __init__(self) -> None:
        self._named: dict[str, Node] = {}
        self._makers: dict[str, Callable[[dict[str, Any]], Node]] = {
            "array": lambda parsed: ArrayNode(self.node(parsed["items"])),
            "map": lambda parsed: MapNode(self.node(parsed["values"])),
            "enum": self._enum,
            "fixed": self._fixed,
            "record": self._record,
            "error": self._record,
        }

    def node(self, parsed: Any) -> Node:
        if isinstance(parsed, list):
            return self._union(parsed)
        if isinstance(parsed, str):
            return self._named.get(parsed) or PrimitiveNode(parsed)
        maker = self._makers.get(parsed["type"])
        return maker(parsed) if maker else PrimitiveNode(parsed["type"])

    def _union(self, parsed: list[Any]) -> Node:
        branches = [self.node(branch) for branch in parsed]
        if any(isinstance(branch, UnionNode) for branch in branches):
            raise _Unfit("a union is directly in a union")
        if not branches or len({branch.name for branch in branches}) < len(branches):
            raise _Unfit("a union is empty, or has a type twice")
        return UnionNode(branches)

    def _enum(self, parsed: dict[str, Any]) -> Node:
        symbols = parsed["symbols"]
        if not isinstance(symbols, list):
            raise _Unfit("the symbols of an enum must be a list")
        return self._add(EnumNode(_name_of(parsed), symbols, default=parsed.get("default")))

    def _fixed(self, parsed: dict[str, Any]) -> Node:
        size = parsed["size"]
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 31:
            raise _Unfit("the size of a fixed must be a number, 0 or more")
        return self._add(FixedNode(_name_of(parsed), size))

    def _record(self, parsed: dict[str, Any]) -> Node:
        record = RecordNode(_name_of(parsed))
        self._add(record)
        for field in parsed["fields"]:
            name = field["name"]
            if not isinstance(name, str) or not _NAME.fullmatch(name) or "." in name:
                raise _Unfit(f"{str(name)[:100]!r} is no name of a field")
            if name in record.fields:
                raise _Unfit(f"the record {record.name} has the field {name} twice")
            record.fields[name] = Field(
                self.node(field["type"]), "default" in field, tuple(_strings(field.get("aliases", ())))
            )
        record.is_empty = all(field.node.is_empty for field in record.fields.values())
        return record

    def _add(self, node: Node) -> Node:
        self._named[node.name] = node
        return node


def _name_of(parsed: dict[str, Any]) -> str:
    name = parsed["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Unfit(f"{str(name)[:100]!r} is no name of a type")
    return name


def _strings(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise _Unfit("aliases must be a list of names")
    return list(value)


def _json_of(data: bytes) -> object:
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise Mismatch(f"Message is not JSON: {error}") from error


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
