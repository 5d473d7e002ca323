"""Random requests of the right type, made from the descriptors: most fields hostile, some plausible."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from longcall.broker.api.services import make_services
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.store import MemoryStore
from longcall.testing.clock import VirtualClock

__all__ = ["filled", "request_classes"]

TEXTS = (
    "",
    "x",
    "projects/p/topics/canary",
    "projects/p/subscriptions/canary",
    "projects/p/topics/other",
    "projects/p/subscriptions/other",
    "projects/p/snapshots/snap",
    "projects/p/schemas/scheme",
    "projects/p",
    "projects//topics/",
    "projects/p/topics/" + "a" * 10_000,
    "\x00\x01\x7f",
    "みんな",
    'attributes.a = "1"',
    "NOT NOT NOT (attributes:a)",
    "(" * 200,
    '{"type": "record", "name": "R", "fields": []}',
    'syntax = "proto3"; message M { string a = 1; }',
)
NUMBERS = (0, 1, -1, 5, 10, 600, 86400, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))


def request_classes() -> list[tuple[str, Any]]:
    """Return every unary method of the broker: its path, and the class of its request."""
    core = BrokerCore(MemoryStore(), VirtualClock())
    services = make_services(core, VirtualClock()).unary
    return [
        (f"/{service}/{name}", kind)
        for service, methods in services.items()
        for name, (_, kind) in methods.items()
    ]


def filled(kind: Any, chance: random.Random, depth: int = 0) -> Any:
    """Return a message with some of its fields set to something."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.4 + 0.2 * depth:
            continue
        try:
            _fill(message, field, chance, depth)
        except (ValueError, TypeError, OverflowError):
            continue  # not even a client could send it
    return message


def _fill(message: Any, field: FieldDescriptor, chance: random.Random, depth: int) -> None:
    repeated = getattr(field, "is_repeated", False)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        entries = getattr(message, field.name)
        for _ in range(chance.randrange(3)):
            if field.message_type.fields_by_name["value"].message_type is None:
                entries[chance.choice(TEXTS)] = chance.choice(TEXTS)
    elif field.message_type is not None:
        if depth > 3:
            return
        kind = GetMessageClass(field.message_type)
        if repeated:
            getattr(message, field.name).extend(
                filled(kind, chance, depth + 1) for _ in range(chance.randrange(3))
            )
        else:
            getattr(message, field.name).CopyFrom(filled(kind, chance, depth + 1))
    elif repeated:
        getattr(message, field.name).extend(_value(field, chance) for _ in range(chance.randrange(3)))
    else:
        setattr(message, field.name, _value(field, chance))


def _value(field: FieldDescriptor, chance: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.randbytes(chance.randrange(40))
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return chance.choice((0.0, -1.0, 1e308, float("nan")))
        case _:
            return chance.choice(NUMBERS)
