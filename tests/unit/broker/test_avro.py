"""Avro definitions and messages, with fastavro as the second opinion."""

from __future__ import annotations

import io
import itertools
import json
from contextlib import suppress
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.avro import parse_avro
from longcall.broker.rules.schemas import Encoding, Mismatch

STATE = {
    "type": "record",
    "name": "State",
    "namespace": "geo",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "population", "type": "int", "default": 0},
        {"name": "motto", "type": ["null", "string"], "default": None},
        {"name": "size", "type": ["null", {"type": "enum", "name": "Size", "symbols": ["S", "L"]}]},
    ],
}
LINKED = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}
SIMPLE = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.binary(max_size=8),
    "string": st.text(max_size=8),
}


@st.composite
def definitions(draw: st.DrawFn) -> Any:
    """Any definition of a message, without recursion."""
    names = itertools.count()

    def draw_type(depth: int) -> Any:
        kinds = ["simple", "enum", "fixed"] + (["array", "map", "union", "record"] if depth else [])
        match draw(st.sampled_from(kinds)):
            case "simple":
                return draw(st.sampled_from(SIMPLE))
            case "enum":
                return {"type": "enum", "name": f"E{next(names)}", "symbols": ["A", "B", "C"]}
            case "fixed":
                return {"type": "fixed", "name": f"F{next(names)}", "size": draw(st.integers(1, 3))}
            case "array":
                return {"type": "array", "items": draw_type(depth - 1)}
            case "map":
                return {"type": "map", "values": draw_type(depth - 1)}
            case "union":
                other = draw_type(depth - 1)
                return other if isinstance(other, list) or other == "null" else ["null", other]
            case _:
                fields = [
                    {"name": f"f{n}", "type": draw_type(depth - 1)} for n in range(draw(st.integers(1, 3)))
                ]
                return {"type": "record", "name": f"ns.R{next(names)}", "fields": fields}

    return draw_type(3)


def draw_value(draw: st.DrawFn, kind: Any) -> Any:
    if isinstance(kind, list):
        return draw_value(draw, draw(st.sampled_from(kind)))
    if isinstance(kind, str):
        return draw(_VALUES[kind])
    match kind["type"]:
        case "enum":
            return draw(st.sampled_from(kind["symbols"]))
        case "fixed":
            return draw(st.binary(min_size=kind["size"], max_size=kind["size"]))
        case "array":
            return [draw_value(draw, kind["items"]) for _ in range(draw(st.integers(0, 3)))]
        case "map":
            keys = draw(st.lists(st.text(min_size=1, max_size=3), max_size=3, unique=True))
            return {key: draw_value(draw, kind["values"]) for key in keys}
        case _:
            return {field["name"]: draw_value(draw, field["type"]) for field in kind["fields"]}


@st.composite
def messages(draw: st.DrawFn) -> tuple[Any, bytes, bytes]:
    """A definition, and one message of it in binary and in JSON, as fastavro writes them."""
    definition = draw(definitions())
    value = draw_value(draw, definition)
    binary, text = io.BytesIO(), io.StringIO()
    parsed = fastavro.parse_schema(definition)
    fastavro.schemaless_writer(binary, parsed, value)
    fastavro.json_writer(text, parsed, [value])
    return definition, binary.getvalue(), text.getvalue().encode()


def fits(definition: Any, data: bytes, encoding: Encoding) -> bool:
    try:
        parse_avro(json.dumps(definition)).check_message(data, encoding)
    except Mismatch:
        return False
    return True


def why_not(definition: Any, data: bytes, encoding: Encoding) -> str:
    with pytest.raises(Mismatch) as refused:
        parse_avro(json.dumps(definition)).check_message(data, encoding)
    return str(refused.value)


@given(messages())
def test_what_fastavro_writes_is_accepted(message: tuple[Any, bytes, bytes]) -> None:
    definition, binary, text = message
    assert fits(definition, binary, Encoding.BINARY)
    assert fits(definition, text, Encoding.JSON)


@given(messages(), st.data())
def test_what_is_accepted_fastavro_reads_to_its_end(message: tuple[Any, bytes, bytes], data: Any) -> None:
    definition, binary, _ = message
    changed = bytearray(binary)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    if fits(definition, bytes(changed), Encoding.BINARY) and len(changed) < 1000:
        read = io.BytesIO(bytes(changed))
        fastavro.schemaless_reader(read, fastavro.parse_schema(definition), None)
        assert read.tell() == len(changed)


@given(definitions(), st.binary(max_size=40))
def test_any_bytes_are_a_message_or_a_mismatch(definition: Any, data: bytes) -> None:
    fits(definition, data, Encoding.BINARY)
    fits(definition, data, Encoding.JSON)


@given(
    definitions(), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
)
def test_any_json_is_a_message_or_a_mismatch(definition: Any, value: Any) -> None:
    fits(definition, json.dumps(value).encode(), Encoding.JSON)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name":"x","population":1,"motto":null,"size":null,"more":[]}', ""),
        ('{\n  "size": {"geo.Size": "L"}, "motto": {"string": ""}, "population": -1, "name": ""\n}', ""),
        ('{"name":"x","population":1,"size":null}', "Field was not found in JSON object: motto"),
        ('{"name":"x","motto":null,"size":null}', "Field was not found in JSON object: population"),
        ('{"name":1,"population":1,"motto":null,"size":null}', "type number_integer .* expected string"),
        ('{"name":"x","population":"1","motto":null,"size":null}', "type string .* expected number_integer"),
        (
            '{"name":"x","population":1.0,"motto":null,"size":null}',
            "type number_float .* expected number_int",
        ),
        (
            '{"name":"x","population":true,"motto":null,"size":null}',
            "type boolean .* expected number_integer",
        ),
        ('{"name":"x","population":2147483648,"motto":null,"size":null}', "does not fit in 32 bits"),
        ('{"name":"x","population":1,"motto":"m","size":null}', "type string .* expected union"),
        ('{"name":"x","population":1,"motto":{"int":1},"size":null}', "'int' is no type of the union"),
        ('{"name":"x","population":1,"motto":null,"size":{"geo.Size":"M"}}', "'M' is no symbol of geo.Size"),
        ('{"name":"\\ud800","population":1,"motto":null,"size":null}', "half of a surrogate"),
        ('{"name":"x","population":NaN,"motto":null,"size":null}', "NaN is not JSON"),
        ("[]", "type array .* expected object"),
        ('{"name":"x","population":1,"motto":null,"size":null} x', "Message is not JSON"),
        ("", "Message is not JSON"),
        ("[" * 100_000, "not JSON|nested too deeply"),
        ("1" * 5000, "Message is not JSON"),
    ],
)
def test_json_message(text: str, why: str) -> None:
    if why:
        with pytest.raises(Mismatch, match=why):
            parse_avro(json.dumps(STATE)).check_message(text.encode(), Encoding.JSON)
    else:
        assert fits(STATE, text.encode(), Encoding.JSON)


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("bytes", '"\\u00ff\\u0000"', ""),
        ("bytes", '"\\u0100"', "a character above U\\+00FF"),
        ("bytes", "[1]", "type array .* expected string"),
        ({"type": "fixed", "name": "F", "size": 2}, '"ab"', ""),
        ({"type": "fixed", "name": "F", "size": 2}, '"abc"', "must have 2 bytes"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "1", "type number_integer .* expected string"),
        ({"type": "map", "values": "int"}, '{"\\ud800": 1}', "half of a surrogate"),
        ({"type": "map", "values": "int"}, "[]", "type array .* expected object"),
        ({"type": "array", "items": "int"}, "{}", "type object .* expected array"),
        ("double", "1", ""),
        ("double", "true", "type boolean .* expected number_float"),
        ("boolean", "null", "type null .* expected boolean"),
        ("null", "0", "type number_integer .* expected null"),
        ("long", "9223372036854775808", "does not fit in 64 bits"),
        (["int", "string"], "null", "type null .* expected union"),
    ],
)
def test_json_value(kind: Any, text: str, why: str) -> None:
    if why:
        with pytest.raises(Mismatch, match=why):
            parse_avro(json.dumps(kind)).check_message(text.encode(), Encoding.JSON)
    else:
        assert fits(kind, text.encode(), Encoding.JSON)


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("int", b"\x80", "Not enough data"),
        ("int", b"\x02\x00", "Too much data to parse for schema."),
        ("int", b"\xff\xff\xff\xff\x1f", "more than 32 bits"),
        ("long", b"\xff" * 10 + b"\x01", "more than ten bytes"),
        ("long", b"\xff" * 9 + b"\x02", "more than 64 bits"),
        ("boolean", b"\x02", "neither 0 nor 1"),
        ("string", b"\x02\xff", "not UTF-8"),
        ("string", b"\x01", "Not enough data"),
        ("bytes", b"\x04a", "Not enough data"),
        ("double", b"1234567", "Not enough data"),
        (["null", "int"], b"\x04", "Invalid union index"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "Invalid enum index"),
        ({"type": "map", "values": "int"}, b"\x02\x02\xff\x02\x00", "not UTF-8"),
    ],
)
def test_binary_message_that_is_none(kind: Any, data: bytes, why: str) -> None:
    assert why in why_not(kind, data, Encoding.BINARY)


def test_block_of_an_array_may_say_its_size() -> None:
    assert fits({"type": "array", "items": "int"}, b"\x01\x02\x0e\x00", Encoding.BINARY)


def test_message_nested_deeper_than_any_stack_is_refused() -> None:
    # fastavro's compiled reader ends the process here.
    assert "nested too deeply" in why_not(LINKED, b"\x02" * 1_000_000, Encoding.BINARY)
    assert fits(LINKED, b"\x02" * 100 + b"\x00", Encoding.BINARY)


def test_array_of_values_without_bytes_costs_nothing() -> None:
    # Six bytes that claim 2**30 values; fastavro builds the list.
    bomb = bytes([0x80, 0x80, 0x80, 0x80, 0x08, 0x00])
    assert fits({"type": "array", "items": "null"}, bomb, Encoding.BINARY)
    assert fits({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, bomb, Encoding.BINARY)


def test_record_whose_parts_double_at_each_level_costs_nothing() -> None:
    fields: list[Any] = [{"name": "f", "type": {"type": "record", "name": "R0", "fields": []}}]
    for level in range(1, 60):
        halves = [{"name": half, "type": f"R{level - 1}"} for half in "ab"]
        fields.append(
            {"name": f"f{level}", "type": {"type": "record", "name": f"R{level}", "fields": halves}}
        )
    assert fits({"type": "record", "name": "Top", "fields": fields}, b"", Encoding.BINARY)


def test_record_within_itself_has_no_message() -> None:
    endless = {"type": "record", "name": "S", "fields": [{"name": "s", "type": "S"}]}
    assert "nested too deeply" in why_not({"type": "array", "items": endless}, b"\x02\x00", Encoding.BINARY)


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("5", ""),
        ("null", ""),
        ("{}", "a type lacks its 'type'"),
        ("[]", "a union is empty"),
        ('"strin"', "unknown type: strin"),
        ('["null","null"]', "has a type twice"),
        ('["null",["int","long"]]', "a union is directly in a union"),
        ('{"type":"array"}', "lacks its 'items'"),
        ('{"type":"record","name":"1S","fields":[]}', "no name of a type"),
        ('{"type":"record","name":"S","fields":[{"name":"a-b","type":"int"}]}', "no name of a field"),
        (
            '{"type":"record","name":"S","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}',
            "has the field a twice",
        ),
        ('{"type":"record","name":"S","fields":[{"name":"a","type":"int","default":"x"}]}', "Default value"),
        ('{"type":"record","name":"S","fields":[{"name":"a","type":"int","aliases":"b"}]}', "aliases"),
        ('{"type":"record","name":"S","fields":[{"name":"a","type":"int","aliases":[1]}]}', "aliases"),
        ('{"type":"record","name":"S","fields":5}', ""),
        ('{"type":"enum","name":"E","symbols":"AB"}', "must be a list"),
        ('{"type":"enum","name":"E","symbols":["A","A"]}', "unique"),
        ('{"type":"fixed","name":"F","size":-1}', "size of a fixed"),
        ('{"type":"fixed","name":"F","size":"x"}', "size of a fixed"),
        ('{"type":"bytes","logicalType":"decimal","precision":-1}', "precision"),
        ('{"type":"record","name":"S","__fastavro_parsed":true,"fields":[{"name":"a","type":"Q"}]}', "Q"),
        ("[" * 100_000, ""),
        ('{"type":"array","items":' * 500 + '"int"' + "}" * 500, ""),
        ('{"type":"array","items":' * 100_000 + '"int"' + "}" * 100_000, ""),
    ],
)
def test_definition_that_is_none(definition: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_avro(definition)
    assert str(refused.value).startswith("Could not parse schema definition: ")
    assert why in str(refused.value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.sampled_from([*SIMPLE, "record", "enum", "array", "S"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "name", "fields", "items", "values", "symbols", "size", "namespace", "default"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_definition_or_refused(tree: Any) -> None:
    with suppress(InvalidArgument):
        parse_avro(json.dumps(tree))


def _record(*fields: Any, name: str = "S") -> Any:
    return {"type": "record", "name": name, "fields": list(fields)}


_A = {"name": "a", "type": "int"}
_B_DEFAULT = {"name": "b", "type": "string", "default": ""}
_SIZES = {"type": "enum", "name": "E", "symbols": ["S", "L"]}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (_record(_A), _record(_A, _B_DEFAULT), ""),
        (_record(_A, _B_DEFAULT), _record(_A), ""),
        (_record(_A), _record(_A), ""),
        (_record(_A), _record(_A, {"name": "b", "type": "string"}), "S.b is missing in one of them"),
        (_record(_A, {"name": "b", "type": "string"}), _record(_A), "S.b is missing in one of them"),
        (_record(_A), _record({"name": "a", "type": "string"}), "S.a: string is not compatible with int"),
        (_record(_A), _record({"name": "a", "type": "long"}), "S.a: int is not compatible with long"),
        ("string", "bytes", ""),
        (_record(_A), _record(_A, name="other.S"), ""),
        (_record(_A), _record(_A, name="T"), "T is not compatible with S"),
        (_SIZES, _SIZES | {"symbols": ["S", "M", "L"]}, "M is missing in E"),
        (_SIZES | {"default": "S"}, _SIZES | {"symbols": ["S", "M", "L"], "default": "S"}, ""),
        (["null", "int"], ["null", "int", "string"], "string is no type of the other union"),
        (["null", "int"], ["int", "null"], ""),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "string"}, "string"),
        (
            {"type": "map", "values": "int"},
            {"type": "array", "items": "int"},
            "array is not compatible with map",
        ),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "int"}, ""),
        (
            {"type": "fixed", "name": "F", "size": 1},
            {"type": "fixed", "name": "F", "size": 2},
            "F is not compatible with F",
        ),
        (LINKED, LINKED, ""),
        (
            LINKED,
            {**LINKED, "fields": [*LINKED["fields"], {"name": "x", "type": "int"}]},  # type: ignore[misc]
            "Link.x is missing",
        ),
        (
            _record({"name": "a", "type": "int", "aliases": ["b"]}),
            _record({"name": "b", "type": "int", "aliases": ["a"]}),
            "",
        ),
    ],
)
def test_revision_must_read_and_be_read_by_the_one_before(old: Any, new: Any, why: str) -> None:
    earlier, later = parse_avro(json.dumps(old)), parse_avro(json.dumps(new))
    if why:
        with pytest.raises(Mismatch, match=why):
            later.check_follows(earlier)
    else:
        later.check_follows(earlier)


@given(definitions())
def test_definition_can_follow_itself(definition: Any) -> None:
    text = json.dumps(definition)
    parse_avro(text).check_follows(parse_avro(text))


def test_comparison_of_unions_of_look_alikes_ends() -> None:
    def nested(leaf: str, level: int = 30, space: str = "a") -> Any:
        if not level:
            kinds: list[Any] = [leaf]
        elif space == "a":
            kinds = [nested(leaf, level - 1, inner) for inner in "abc"]
        else:
            kinds = [f"{inner}.R{level - 1}" for inner in "abc"]
        return _record({"name": "f", "type": kinds}, name=f"{space}.R{level}")

    later = parse_avro(json.dumps(nested("int")))
    later.check_follows(later)
    with pytest.raises(Mismatch):
        later.check_follows(parse_avro(json.dumps(nested("string"))))


def test_types_that_refer_to_each_other_too_deeply_are_no_revision() -> None:
    def chained(parts: str) -> Any:
        links: list[Any] = [{"name": "f0", "type": _record(_A, name="R0")}]
        links += [
            {"name": f"f{n}", "type": _record({"name": "f", "type": f"R{n - 1}"}, name=f"R{n}")}
            for n in range(1, 2000)
        ]
        items = {"type": "array", "items": _record(*links, name="Links")}
        return _record({"name": parts, "type": items, "default": []}, {"name": "top", "type": "R1999"})

    later = parse_avro(json.dumps(chained("parts")))
    with pytest.raises(Mismatch, match="too deeply"):
        later.check_follows(parse_avro(json.dumps(chained("pieces"))))


@pytest.mark.parametrize("data", [b"\x00", b"\x01"])
def test_binary_boolean(data: bytes) -> None:
    assert fits("boolean", data, Encoding.BINARY)
