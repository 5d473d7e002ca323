"""HTTP requests as messages of the API. Pure.

Rests on the comments of `google/api/http.proto`: the path binds some fields, the body is the
rest of the message or one field of it, and what is left are query parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from longcall.broker.api.routing import Match
from longcall.broker.errors import InvalidArgument

__all__ = ["Query", "decode_request"]

_SYSTEM_PARAMETERS: Final = (
    *("$alt", "$fields", "$prettyPrint", "$.xgafv", "access_token", "alt", "callback", "fields", "key"),
    *("oauth_token", "prettyPrint", "quotaUser", "uploadType", "upload_protocol"),
)
_FORMATS: Final = {"json": False, "json;enum-encoding=int": True}
_TRUTH: Final = {"true": True, "false": False}
_MAX_PARAMETERS: Final = 1000
_WRITTEN_AS_STRING: Final = (
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.Timestamp",
)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2,3}={0,2})?")
_FIELD_MASK: Final = "google.protobuf.FieldMask"


class Query(NamedTuple):
    """A query string.

    Attributes:
        fields: of the message, by the names that were sent, in their order.
        enums_as_numbers: how enums are to be in the answer.
        pretty: whether the answer is to be indented.
    """

    fields: Sequence[tuple[str, str]] = ()
    enums_as_numbers: bool = False
    pretty: bool = False

    @classmethod
    def decode(cls, text: str) -> Query:
        """Read a query string. Google's system parameters are told from fields; most have no effect.

        Raises:
            InvalidArgument: it is none, or the answer is to be something else than JSON.
        """
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
        except ValueError as error:
            raise InvalidArgument(f"Invalid query string: {error}.") from error
        system = {name.removeprefix("$"): value for name, value in pairs if name in _SYSTEM_PARAMETERS}
        wanted = system.get("alt", "json")
        if wanted not in _FORMATS:
            raise InvalidArgument(f"Invalid value of alt: {wanted[:100]!r}: answers are JSON.")
        fields = [pair for pair in pairs if pair[0] not in _SYSTEM_PARAMETERS]
        return cls(fields, _FORMATS[wanted], system.get("prettyPrint") == "true")


def decode_request(kind: Any, match: Match, query: Sequence[tuple[str, str]], body: bytes) -> Any:
    """Return the message that an HTTP request stands for.

    Args:
        kind: class of the message.
        match: where it goes, and what the path says.
        query: parameters that stand for fields.
        body: JSON, or empty. What the path binds, wins.

    Raises:
        InvalidArgument: body or parameters are no such message.
    """
    request = kind()
    part = match.binding.body
    if part and body:
        target = request if part == "*" else getattr(request, part)
        _parse(_loaded(body), target)
        target.SetInParent()
    if query:
        _parse(_tree_of(query, request.DESCRIPTOR), request)
    for path, value in match.variables.items():
        *parents, name = path.split(".")
        owner = request
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, value)
    return request


def _loaded(body: bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(body.decode(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}") from error
    if not isinstance(loaded, dict):
        raise InvalidArgument("Invalid JSON payload received. It must be an object.")
    return loaded


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    loaded = dict(pairs)
    if len(loaded) < len(pairs):
        raise ValueError("A key is there twice.")
    return loaded


def _parse(tree: dict[str, Any], message: Any) -> None:
    try:
        json_format.ParseDict(_prepared(tree, message.DESCRIPTOR), message)
    except (json_format.ParseError, RecursionError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}") from error


def _prepared(tree: dict[str, Any], kind: Descriptor) -> dict[str, Any]:
    """Return JSON as `json_format` is to see it: what Google takes and it does not, and the reverse.

    Raises:
        InvalidArgument: bytes are no base64. `json_format` would leave out what is none.
    """
    fields = _fields_by_name(kind)
    return {
        name: _prepared_value(value, fields[name]) if name in fields else value
        for name, value in tree.items()
    }


def _prepared_value(value: Any, field: FieldDescriptor) -> Any:
    kind = field.message_type
    if isinstance(value, list):
        return [_prepared_value(each, field) for each in value]
    if kind is not None and isinstance(value, dict):
        return _prepared(value, kind)
    if kind is not None and kind.full_name == _FIELD_MASK and isinstance(value, str):
        return _camel_case(value)
    if field.type == FieldDescriptor.TYPE_BYTES and isinstance(value, str) and not _BASE64.fullmatch(value):
        raise InvalidArgument(
            f"Invalid JSON payload received. Invalid value at '{field.json_name}' (TYPE_BYTES), "
            f"Base64 decoding failed for {value[:100]!r}"
        )
    return value


def _camel_case(paths: str) -> str:
    """Return a field mask as JSON has it; Google takes the names of the fields, too."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), paths)


def _tree_of(query: Sequence[tuple[str, str]], kind: Descriptor) -> dict[str, Any]:
    """Return query parameters as JSON would have them."""
    root: dict[str, Any] = {}
    for name, text in query:
        tree, descriptor = root, kind
        *parents, last = name.split(".")
        for parent in parents:
            field = _field(descriptor, parent, name)
            if field.message_type is None or _is_repeated(field):
                raise _no_field(name)
            tree, descriptor = tree.setdefault(field.json_name, {}), field.message_type
        field = _field(descriptor, last, name)
        value = _value_of(field, name, text)
        if _is_repeated(field):
            tree.setdefault(field.json_name, []).append(value)
        elif field.json_name in tree:
            raise InvalidArgument(f"Invalid query string: {name[:100]!r} is there twice.")
        else:
            tree[field.json_name] = value
    return root


def _value_of(field: FieldDescriptor, name: str, text: str) -> object:
    if field.message_type is not None and field.message_type.full_name not in _WRITTEN_AS_STRING:
        raise _no_field(name)
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    if text not in _TRUTH:
        raise InvalidArgument(f"Invalid value of {name[:100]!r}: {text[:100]!r} is neither true nor false.")
    return _TRUTH[text]


def _field(kind: Descriptor, name: str, whole: str) -> FieldDescriptor:
    field = _fields_by_name(kind).get(name)
    if field is None:
        raise _no_field(whole)
    return field


def _is_repeated(field: FieldDescriptor) -> bool:
    return bool(field.default_value == [])  # has worked in every release of protobuf


def _fields_by_name(kind: Descriptor) -> Mapping[str, FieldDescriptor]:
    """Return the fields of a message by both names that JSON takes."""
    return {name: field for field in kind.fields for name in (field.json_name, field.name)}


def _no_field(name: str) -> InvalidArgument:
    return InvalidArgument(
        f'Invalid JSON payload received. Unknown name "{name[:100]}": Cannot bind query parameter. '
        f"Field '{name[:100]}' could not be found in request message."
    )
