"""Compiled Protocol Buffers: messages of them, and what may follow them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.protobuf import ProtobufSchema, load_protobuf, only_message
from longcall.broker.rules.schemas import Encoding, Mismatch

JSON, BINARY = Encoding.JSON, Encoding.BINARY
NAME = {"name": "name", "number": 1, "type": "TYPE_STRING", "label": "LABEL_OPTIONAL"}
COUNT = {"name": "count", "number": 2, "type": "TYPE_INT32", "label": "LABEL_OPTIONAL"}
NEXT = {**NAME, "name": "next", "number": 3, "type": "TYPE_MESSAGE", "typeName": ".geo.State"}
SIZE = {**NAME, "name": "size", "number": 4, "type": "TYPE_ENUM", "typeName": ".geo.State.Size"}
SIZES = {"name": "Size", "value": [{"name": "SMALL", "number": 0}, {"name": "LARGE", "number": 1}]}


def compiled(*fields: Any, syntax: str = "proto3", enum: Any = None, **more: Any) -> bytes:
    message = {"name": "State", "field": list(fields), "enumType": [enum] if enum else []}
    file = {"name": "s.proto", "package": "geo", "syntax": syntax, "messageType": [message]} | more
    return FileDescriptorSet(file=[ParseDict(file, FileDescriptorProto())]).SerializeToString()


def schema(*fields: Any, **more: Any) -> ProtobufSchema:
    return load_protobuf(compiled(*fields, **more), "geo.State")


STATE = schema(NAME, COUNT, NEXT, SIZE, enum=SIZES)


@pytest.mark.parametrize(
    ("data", "encoding", "why"),
    [
        (b"", BINARY, ""),
        (b"\x0a\x01a\x10\x05\x1a\x03\x0a\x01b\x20\x01", BINARY, ""),
        (b"\x0a\x05a", BINARY, "Error parsing"),
        (b"\x0a\x01\xff", BINARY, "Error parsing"),
        (b"\x80", BINARY, "Error parsing"),
        (b"\x28\x01", BINARY, "does not have"),  # field 5
        (b"\x1a\x02\x28\x01", BINARY, "does not have"),  # field 5 of the inner one
        (b"\x08\x01", BINARY, "does not have"),  # field 1 as a number
        (b"\x1a\x02" * 5000, BINARY, ""),
        (b'{"name": "a", "count": 5, "next": {}, "size": "LARGE"}', JSON, ""),
        (b' \n {"name":\n"a"}', JSON, ""),
        (b"{}", JSON, ""),
        (b'{"count": "x"}', JSON, "not JSON of this schema"),
        (b'{"other": 1}', JSON, "no field named"),
        (b'{"size": "HUGE"}', JSON, "not JSON of this schema"),
        (b'{"name": "a", "name": "b"}', JSON, "duplicate key"),
        (b'{"name": "\\ud800"}', JSON, "not JSON of this schema"),
        (b'{"name": "\xff"}', JSON, "utf-8"),
        (b"[]", JSON, "not a JSON object"),
        (b"null", JSON, "not a JSON object"),
        (b"", JSON, "not a JSON object"),
        (b'{"next":' * 100_000 + b"{}" + b"}" * 100_000, JSON, "not JSON of this schema"),
        (b'{"next":' * 300 + b"{}" + b"}" * 300, JSON, "not JSON of this schema"),
    ],
)
def test_message(data: bytes, encoding: Encoding, why: str) -> None:
    if data == b"\x1a\x02" * 5000:  # nested, well-formed and too deep
        data = b""
        for _ in range(5000):
            data = b"\x1a" + _varint(len(data)) + data
        why = "Error parsing"
    if why:
        with pytest.raises(Mismatch, match=why):
            STATE.check_message(data, encoding)
    else:
        STATE.check_message(data, encoding)


def _varint(number: int) -> bytes:
    coded = b""
    while number > 127:
        coded += bytes([number & 127 | 128])
        number >>= 7
    return coded + bytes([number])


def test_required_field_must_be_there() -> None:
    required = schema({**NAME, "label": "LABEL_REQUIRED"}, syntax="proto2")
    required.check_message(b"\x0a\x00", BINARY)
    required.check_message(b'{"name": ""}', JSON)
    for data, encoding in ((b"", BINARY), (b"{}", JSON)):
        with pytest.raises(Mismatch, match="Required fields are missing: name"):
            required.check_message(data, encoding)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_mismatch(data: bytes) -> None:
    for encoding in Encoding:
        with suppress(Mismatch):
            STATE.check_message(data, encoding)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["name", "count", "next", "size"]), inner)
        ),
    )
)
def test_any_json_is_a_message_or_a_mismatch(value: Any) -> None:
    with suppress(Mismatch):
        STATE.check_message(json.dumps(value).encode(), JSON)


@given(st.integers(0), st.binary(max_size=3))
def test_damaged_descriptor_sets_are_loaded_or_refused(at: int, junk: bytes) -> None:
    damaged = bytearray(compiled(NAME, COUNT, NEXT, SIZE, enum=SIZES))
    at %= len(damaged)
    damaged[at : at + len(junk)] = junk
    with suppress(InvalidArgument, Mismatch):
        load_protobuf(bytes(damaged), "geo.State").check_message(b"\x0a\x00", BINARY)


@pytest.mark.parametrize("root", ["geo.Other", "", "State", "geo.State.Size"])
def test_root_that_is_not_there(root: str) -> None:
    with pytest.raises(InvalidArgument, match="Could not parse schema definition"):
        load_protobuf(compiled(NAME, SIZE, enum=SIZES), root)


def test_set_that_lacks_an_import_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Could not parse schema definition"):
        load_protobuf(compiled(NAME, dependency=["other.proto"]), "geo.State")


def test_one_top_level_message_is_the_rule() -> None:
    assert only_message(compiled(NAME)) == "geo.State"
    assert only_message(compiled(NAME, package="")) == "State"
    for messages in ([], [{"name": "A"}, {"name": "B"}]):
        with pytest.raises(InvalidArgument, match=f"exactly one top-level message, and has {len(messages)}"):
            only_message(compiled(messageType=messages))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ([NAME], [NAME, COUNT], ""),
        ([NAME, COUNT], [NAME], ""),
        ([NAME, NEXT], [NAME, NEXT, COUNT], ""),
        (
            [NAME],
            [{**NAME, "type": "TYPE_BYTES"}],
            "State.name of type bytes is not compatible with .* string",
        ),
        ([NAME], [{**NAME, "name": "title"}], "State.title of name title is not compatible"),
        ([NAME], [{**NAME, "label": "LABEL_REPEATED"}], "of label repeated"),
        ([NAME], [NAME, {**COUNT, "label": "LABEL_REPEATED"}], "State.count is not optional"),
        ([NAME, {**COUNT, "label": "LABEL_REQUIRED"}], [NAME], "State.count is not optional"),
    ],
)
def test_revision_may_add_and_remove_optional_fields(old: Any, new: Any, why: str) -> None:
    earlier, later = schema(*old, syntax="proto2"), schema(*new, syntax="proto2")
    if why:
        with pytest.raises(Mismatch, match=why):
            later.check_follows(earlier)
    else:
        later.check_follows(earlier)


def test_values_of_enums_stay() -> None:
    more = {**SIZES, "value": [*SIZES["value"], {"name": "HUGE", "number": 2}]}
    small, large = schema(NAME, SIZE, enum=SIZES), schema(NAME, SIZE, enum=more)
    for earlier, later in ((small, large), (large, small)):
        with pytest.raises(Mismatch, match=r"HUGE = 2 is missing in geo\.State\.Size"):
            later.check_follows(earlier)
    small.check_follows(small)
