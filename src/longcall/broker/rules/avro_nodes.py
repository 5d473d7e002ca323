"""The types of an Avro definition, each of which knows its messages, in binary and in JSON.

`skip` walks over binary data, `accept` looks at a JSON value; both raise `Mismatch`, and neither builds
anything. Recursion is that of the message, in Python, and ends with RecursionError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from longcall.broker.rules.schemas import Mismatch

__all__ = [
    "ArrayNode",
    "Cursor",
    "EnumNode",
    "Field",
    "FixedNode",
    "MapNode",
    "NamedNode",
    "Node",
    "PrimitiveNode",
    "RecordNode",
    "UnionNode",
]

_INT_BOUND: Final = 1 << 31
_LONG_BOUND: Final = 1 << 63


class Cursor:
    """A place in binary data.

    Attributes:
        data: the whole of it.
        at: offset of the next byte.
    """

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def long(self) -> int:
        """Return the zig-zag number that is next."""
        data, at, shift, coded = self.data, self.at, 0, 0
        while True:
            if at == len(data):
                raise Mismatch("Not enough data to parse for schema.")
            byte = data[at]
            at += 1
            coded |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise Mismatch("A number has more than ten bytes.")
        self.at = at
        if coded >= 1 << 64:
            raise Mismatch("A number has more than 64 bits.")
        return (coded >> 1) ^ -(coded & 1)

    def pass_over(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise Mismatch("Not enough data to parse for schema.")
        passed = self.data[self.at : end]
        self.at = end
        return passed


class Node(Protocol):
    """A type of Avro."""

    @property
    def name(self) -> str:
        """What the type is called in a union: complete for named types."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether every value takes no bytes at all."""
        ...

    def skip(self, cursor: Cursor) -> None:
        """Walk over a value."""
        ...

    def accept(self, value: object) -> None:
        """Return if the JSON value is one of this type."""
        ...


class PrimitiveNode:
    """`null`, `boolean`, `int`, `long`, `float`, `double`, `bytes` or `string`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_empty = name == "null"

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        match self.name:
            case "null":
                pass
            case "boolean":
                if cursor.pass_over(1)[0] > 1:
                    raise Mismatch("A boolean is neither 0 nor 1.")
            case "int":
                if not -_INT_BOUND <= cursor.long() < _INT_BOUND:
                    raise Mismatch("An int has more than 32 bits.")
            case "long":
                cursor.long()
            case "float":
                cursor.pass_over(4)
            case "double":
                cursor.pass_over(8)
            case "bytes":
                cursor.pass_over(cursor.long())
            case _:
                _skip_string(cursor)

    def accept(self, value: object) -> None:
        """See `Node`."""
        match self.name:
            case "null":
                _expect(value is None, value, "null")
            case "boolean":
                _expect(isinstance(value, bool), value, "boolean")
            case "int":
                _accept_integer(value, _INT_BOUND)
            case "long":
                _accept_integer(value, _LONG_BOUND)
            case "float" | "double":
                _expect(isinstance(value, int | float) and not isinstance(value, bool), value, "number_float")
            case "bytes":
                _accept_bytes(value)
            case _:
                _expect(isinstance(value, str), value, "string")
                _check_text(str(value))


class ArrayNode:
    """`array`."""

    name = "array"
    is_empty = False

    def __init__(self, items: Node) -> None:
        self.items = items

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        while count := _block(cursor):
            # Items without bytes are all there, however many: six bytes may claim 2**40 of them.
            for _ in range(0 if self.items.is_empty else count):
                self.items.skip(cursor)

    def accept(self, value: object) -> None:
        """See `Node`."""
        if not isinstance(value, list):
            raise _unexpected(value, "array")
        for item in value:
            self.items.accept(item)


class MapNode:
    """`map`, with strings as keys."""

    name = "map"
    is_empty = False

    def __init__(self, values: Node) -> None:
        self.values = values

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        while count := _block(cursor):
            for _ in range(count):
                _skip_string(cursor)
                self.values.skip(cursor)

    def accept(self, value: object) -> None:
        """See `Node`."""
        if not isinstance(value, dict):
            raise _unexpected(value, "object")
        for key, item in value.items():
            _check_text(key)
            self.values.accept(item)


class EnumNode:
    """`enum`.

    Attributes:
        symbols: in the order of their numbers.
        default: symbol that stands for one that a reader does not know; None: there is none.
    """

    is_empty = False

    def __init__(self, name: str, symbols: Sequence[str], *, default: str | None) -> None:
        self.name = name
        self.symbols = symbols
        self.default = default
        self._known = frozenset(symbols)

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        if not 0 <= cursor.long() < len(self.symbols):
            raise Mismatch(f"Invalid enum index for {self.name}.")

    def accept(self, value: object) -> None:
        """See `Node`."""
        if not isinstance(value, str):
            raise _unexpected(value, "string")
        if value not in self._known:
            raise Mismatch(f"{value[:100]!r} is no symbol of {self.name}.")


class FixedNode:
    """`fixed`."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.is_empty = size == 0

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        cursor.pass_over(self.size)

    def accept(self, value: object) -> None:
        """See `Node`."""
        if _accept_bytes(value) != self.size:
            raise Mismatch(f"A value of {self.name} must have {self.size} bytes.")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record."""

    node: Node
    has_default: bool
    aliases: tuple[str, ...] = ()


class RecordNode:
    """`record` or `error`.

    Attributes:
        fields: by name, in the order of the definition; filled after the record is made, since they may
            refer to it.
        is_empty: see `Node`; to be set once the fields are there. A record within itself has no finite
            value and is not empty.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Field] = {}
        self.is_empty = False

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        if self.is_empty:
            return
        for field in self.fields.values():
            field.node.skip(cursor)

    def accept(self, value: object) -> None:
        """See `Node`. Fields that the record does not have are let through, as the real service does."""
        if not isinstance(value, dict):
            raise _unexpected(value, "object")
        for name, field in self.fields.items():
            if name not in value:
                raise Mismatch(f"Field was not found in JSON object: {name}")
            field.node.accept(value[name])


class UnionNode:
    """A union; in JSON a value is `null`, or an object whose one key names the type."""

    name = "union"
    is_empty = False

    def __init__(self, branches: Sequence[Node]) -> None:
        self.branches = branches
        self._by_name = {branch.name: branch for branch in branches}

    def skip(self, cursor: Cursor) -> None:
        """See `Node`."""
        branch = cursor.long()
        if not 0 <= branch < len(self.branches):
            raise Mismatch("Invalid union index.")
        self.branches[branch].skip(cursor)

    def accept(self, value: object) -> None:
        """See `Node`."""
        if value is None and "null" in self._by_name:
            return
        if not isinstance(value, dict) or len(value) != 1:
            raise _unexpected(value, "union: null, or an object whose one key names the type")
        ((name, inner),) = value.items()
        branch = self._by_name.get(name)
        if branch is None or name == "null":
            raise Mismatch(f"{name[:100]!r} is no type of the union.")
        branch.accept(inner)


NamedNode: TypeAlias = EnumNode | FixedNode | RecordNode


def _block(cursor: Cursor) -> int:
    """Return how many items the next block has; 0: it was the last."""
    count = cursor.long()
    if count < 0:
        cursor.long()  # its size in bytes, for those who do not want to read it
    return abs(count)


def _skip_string(cursor: Cursor) -> None:
    try:
        cursor.pass_over(cursor.long()).decode()
    except UnicodeDecodeError as error:
        raise Mismatch("A string is not UTF-8.") from error


def _accept_integer(value: object, bound: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unexpected(value, "number_integer")
    if not -bound <= value < bound:
        raise Mismatch(f"A number does not fit in {bound.bit_length()} bits.")


def _accept_bytes(value: object) -> int:
    """Return how many bytes a JSON string stands for, a character for each."""
    if not isinstance(value, str):
        raise _unexpected(value, "string")
    if any(ord(character) > 0xFF for character in value):
        raise Mismatch("A string of bytes has a character above U+00FF.")
    return len(value)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Mismatch("A string has half of a surrogate pair.") from error


def _expect(fits: bool, value: object, expected: str) -> None:
    if not fits:
        raise _unexpected(value, expected)


def _unexpected(value: object, expected: str) -> Mismatch:
    kind = {
        bool: "boolean",
        int: "number_integer",
        float: "number_float",
        str: "string",
        list: "array",
        dict: "object",
    }.get(type(value), "null")
    return Mismatch(f"JSON object with type {kind} does not match schema which expected {expected}")
