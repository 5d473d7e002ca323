"""The compiler in its own process: what it takes, and what it must not do to the broker."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from longcall.broker.core import protoc
from longcall.broker.core.protoc import check_descriptor_set, compile_definition
from longcall.broker.core.schema_compiler import SchemaCompiler
from longcall.broker.errors import InvalidArgument, ResourceExhausted
from longcall.broker.rules.protobuf import load_protobuf
from longcall.broker.rules.schemas import Encoding, SchemaType
from longcall.broker.wire import Wire

HEAD = 'syntax = "proto3"; '


@pytest.mark.parametrize(
    ("definition", "root"),
    [
        (HEAD + "message State { string name = 1; }", "State"),
        (HEAD + "package geo.v1; enum Size { S = 0; } message State { Size size = 1; }", "geo.v1.State"),
        ("message State { required string name = 1; }", "State"),  # without a word on it: proto2
        ('edition = "2023"; message State { string name = 1; }', "State"),
        (HEAD + "message State { message Inner { int32 n = 1; } repeated Inner all = 1; }", "State"),
        (HEAD + "/* ümläut */ message State {}", "State"),
    ],
)
def test_definition_is_compiled(definition: str, root: str) -> None:
    descriptor_set, found = compile_definition(definition)
    assert found == root
    check_descriptor_set(descriptor_set, root)


def test_compiled_definition_checks_messages() -> None:
    schema = load_protobuf(*compile_definition(HEAD + "message State { string name = 1; }"))
    schema.check_message(b"\x0a\x01a", Encoding.BINARY)
    schema.check_message(b'{"name": "a"}', Encoding.JSON)


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ("", "exactly one top-level message, and has 0"),
        ("nonsense", "schema.proto:1:1: Expected top-level statement"),
        (HEAD + "message A {} message B {}", "exactly one top-level message, and has 2"),
        (HEAD + 'import "google/protobuf/timestamp.proto"; message A {}', "Imports are not supported"),
        (HEAD + 'import "/etc/passwd"; message A {}', "Imports are not supported"),
        (HEAD + 'import "../../../../etc/passwd"; message A {}', "Imports are not supported"),
        (HEAD + 'import "schema.proto"; message A {}', "recursively imports itself"),
        (HEAD + "message A {" * 20_000 + "}" * 20_000, "recursion limit"),
        (HEAD + "message A { ." + "a." * 140_000 + "b c = 1; }", "schema.proto:1:"),
        (HEAD + "message A {} \0", "Invalid control characters"),
        # protoc takes 8 GB and half a minute for this one, if it may.
        (
            'syntax = "proto2"; message A {' + "optional group G = 1 {" * 10_000 + "}" * 10_000 + "}",
            "too much memory or time",
        ),
    ],
)
def test_definition_that_is_none_is_refused(definition: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        compile_definition(definition)
    said = str(refused.value)
    assert said.startswith("Could not parse schema definition: ")
    assert why in said
    assert "root:" not in said
    assert str(Path.home()) not in said


@pytest.mark.parametrize("descriptor_set", [b"\xff", b"", b"\x0a\x03\x0a\x01a"])
def test_descriptor_set_that_is_none_is_refused(descriptor_set: bytes) -> None:
    with pytest.raises(InvalidArgument, match="Could not parse schema definition"):
        check_descriptor_set(descriptor_set, "State")


def test_compiler_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protoc, "_TIME_LIMIT_S", 0.001)
    with pytest.raises(InvalidArgument, match="the compiler took too long"):
        compile_definition(HEAD + "message A {}")


async def test_compiler_that_has_no_room_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    schema = Wire.Schema(type_=SchemaType.PROTOCOL_BUFFER, definition=HEAD + "message A {}")
    with pytest.raises(ResourceExhausted, match="The compiler could not be run: No such file or directory"):
        await SchemaCompiler().compile(schema)
