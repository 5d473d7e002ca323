"""Whether one Avro schema can read what another has written: "Schema Resolution" of the specification."""

from __future__ import annotations

from typing import Final

from longcall.broker.rules.avro_nodes import (
    ArrayNode,
    EnumNode,
    Field,
    FixedNode,
    MapNode,
    Node,
    PrimitiveNode,
    RecordNode,
    UnionNode,
)
from longcall.broker.rules.schemas import Mismatch

__all__ = ["check_resolves"]

_PROMOTIONS: Final = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


def check_resolves(writer: Node, reader: Node) -> None:
    """Return if the reader can read everything that the writer may have written.

    Raises:
        Mismatch: names the types or the field.
    """
    _Resolution().check(writer, reader)


class _Resolution:
    """Remembers which pairs of types were looked at: definitions refer to themselves.

    A pair that is being looked at counts as fitting. So a failure is for good, and what was found
    fitting under an assumption that failed is forgotten.
    """

    def __init__(self) -> None:
        self._fitting: set[tuple[int, int]] = set()
        self._failed: dict[tuple[int, int], str] = {}

    def check(self, writer: Node, reader: Node) -> None:
        pair = (id(writer), id(reader))
        if pair in self._fitting:
            return
        if pair in self._failed:
            raise Mismatch(self._failed[pair])
        before = self._fitting.copy()
        self._fitting.add(pair)
        try:
            self._check_new(writer, reader)
        except Mismatch as error:
            self._fitting = before
            self._failed[pair] = str(error)
            raise

    def _check_new(self, writer: Node, reader: Node) -> None:
        if isinstance(writer, UnionNode):
            for branch in writer.branches:
                self.check(branch, reader)
        elif isinstance(reader, UnionNode):
            if not any(self._resolves(writer, branch) for branch in reader.branches):
                raise Mismatch(f"{writer.name} is no type of the other union")
        elif isinstance(writer, PrimitiveNode) and isinstance(reader, PrimitiveNode):
            if reader.name not in (writer.name, *_PROMOTIONS.get(writer.name, ())):
                raise _unlike(writer, reader)
        elif isinstance(writer, ArrayNode) and isinstance(reader, ArrayNode):
            self.check(writer.items, reader.items)
        elif isinstance(writer, MapNode) and isinstance(reader, MapNode):
            self.check(writer.values, reader.values)
        else:
            self._check_named(writer, reader)

    def _check_named(self, writer: Node, reader: Node) -> None:
        if _short(writer.name) != _short(reader.name):
            raise _unlike(writer, reader)
        if isinstance(writer, RecordNode) and isinstance(reader, RecordNode):
            for name, field in reader.fields.items():
                self._check_field(writer, name, field)
        elif isinstance(writer, EnumNode) and isinstance(reader, EnumNode):
            missing = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
            if missing and reader.default is None:
                raise Mismatch(f"{missing[0]} is missing in {reader.name}")
        elif not (
            isinstance(writer, FixedNode) and isinstance(reader, FixedNode) and writer.size == reader.size
        ):
            raise _unlike(writer, reader)

    def _check_field(self, writer: RecordNode, name: str, field: Field) -> None:
        known = next((n for n in (name, *field.aliases) if n in writer.fields), None)
        if known is not None:
            try:
                self.check(writer.fields[known].node, field.node)
            except Mismatch as error:
                raise Mismatch(f"{writer.name}.{name}: {error}") from error
        elif not field.has_default:
            raise Mismatch(f"{writer.name}.{name} is missing in one of them and has no default")

    def _resolves(self, writer: Node, reader: Node) -> bool:
        try:
            self.check(writer, reader)
        except Mismatch:
            return False
        return True


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _unlike(writer: Node, reader: Node) -> Mismatch:
    return Mismatch(f"{reader.name} is not compatible with {writer.name}")
