"""A request's body validated by annotations. The one module that needs pydantic."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from longcall.contract import ContractError, JsonValue, decode_json
from longcall.service.arguments import ArgumentError, InvalidArguments
from longcall.service.errors import ServiceConfigError
from longcall.service.wording import publishable

__all__ = ["BodyValidator"]

_MAX_ERRORS: Final = 20
_MAX_POINTER: Final = 300
_MAX_DETAIL: Final = 500
_LEAST_SECRET: Final = 4
"""Shorter values are not looked for in a message: their letters are in every word."""
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class BodyValidator:
    """Turns a body into the arguments of one function."""

    _adapter: TypeAdapter[Any]
    _names: tuple[str, ...]
    _whole: bool
    _forbids: bool
    _default: object = Parameter.empty

    @classmethod
    def of(cls, hints: Mapping[str, Any], defaults: Mapping[str, object]) -> BodyValidator:
        """Prepare the validation of the parameters `hints`; `defaults` has `Parameter.empty` for none.

        Raises:
            ServiceConfigError: pydantic has no notion of a type.
        """
        names = tuple(hints)
        try:
            if len(names) == 1 and _takes_the_body(hints[names[0]]):
                hint, default = hints[names[0]], defaults[names[0]]
                if isinstance(default, FieldInfo):
                    hint, default = Annotated[hint, default], _default_of(default)
                return cls(TypeAdapter(hint), names, True, not _has_its_own_way(hint), default)
            strict = not any(_has_its_own_way(hint) for hint in hints.values())
            return cls(TypeAdapter(_members(hints, defaults)), names, False, strict)
        except (PydanticUserError, TypeError, NameError) as error:
            raise ServiceConfigError("arguments", str(error).partition("\n")[0]) from error

    def validate(self, body: bytes, content_type: str) -> dict[str, object]:
        """Return the value of each parameter.

        Raises:
            InvalidArguments: the body does not fit.
        """
        body = body.removeprefix(_BOM)
        if not body:
            if self._default is not Parameter.empty:
                return {self._names[0]: self._default}
            body = b"{}"
        try:
            decoded = decode_json(body, field="body")
        except ContractError as error:
            declared = content_type.partition(";")[0].strip()
            why = error.reason if "json" in declared or not declared else f"JSON is expected, not {declared}"
            raise InvalidArguments([{"pointer": "", "detail": why[:_MAX_DETAIL]}]) from None
        try:
            value = self._adapter.validate_json(body, extra="forbid" if self._forbids else None)
        except ValidationError as error:
            # Not chained: the original quotes the values.
            raise InvalidArguments(_errors(error.errors(include_url=False), decoded)) from None
        except RecursionError:
            raise InvalidArguments([{"pointer": "", "detail": "nested too deep"}]) from None
        if self._whole:
            return {self._names[0]: value}
        return {name: getattr(value, f"f{number}") for number, name in enumerate(self._names)}


def _members(hints: Mapping[str, Any], defaults: Mapping[str, object]) -> type[BaseModel]:
    """Return a model of the parameters. Its fields are numbered: a parameter may be called `json` or `_x`."""
    fields: dict[str, Any] = {}
    for number, (name, hint) in enumerate(hints.items()):
        kind, *more = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        # What the author's own Field says comes last, and wins.
        named = Annotated[(kind, Field(alias=name), *more)]  # type: ignore[valid-type] # made at run time
        default = defaults[name]
        fields[f"f{number}"] = (named, ... if default is Parameter.empty else default)
    return cast("type[BaseModel]", create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields))


def _takes_the_body(hint: Any) -> bool:
    """Whether a lone parameter of this type is the body itself and no member of it."""
    kind = _without_none(_bare(hint))
    if kind is dict or typing.get_origin(kind) is dict:
        return True
    kind = typing.get_origin(kind) or kind  # Page[Item]
    if typing.is_typeddict(kind) or hasattr(kind, "__total__"):
        return True
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))


def _has_its_own_way(hint: Any) -> bool:
    """Whether a type says itself what to do with members that it does not know."""
    kind = _without_none(_bare(hint))
    kind = typing.get_origin(kind) or kind
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    return "extra" in config


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(rest) == 1:
            return _bare(rest[0])
    return hint


def _default_of(field: FieldInfo) -> object:
    value = field.get_default()
    return Parameter.empty if value is PydanticUndefined else value


def _errors(found: Sequence[ErrorDetails], body: JsonValue) -> list[ArgumentError]:
    errors: list[ArgumentError] = []
    for each in found:
        error: ArgumentError = {"pointer": _pointer(each, body), "detail": _detail(each)}
        if error not in errors:
            errors.append(error)
    return errors[:_MAX_ERRORS]


def _pointer(error: ErrorDetails, body: JsonValue) -> str:
    """Return where in the body an error is: pydantic's location without names of types and the like."""
    pointer, here = "", body
    for part in error["loc"]:
        if isinstance(here, Mapping) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif not (isinstance(here, Mapping) and part == error["loc"][-1] and error["type"] == "missing"):
            continue
        longer = f"{pointer}/{str(part).replace('~', '~0').replace('/', '~1')}"
        if len(longer) > _MAX_POINTER:
            break
        pointer = longer
    return publishable(pointer)


def _detail(error: ErrorDetails) -> str:
    """Return what is wrong, without the value: it may be a secret, and answers are logged."""
    kind, text = error["type"], error["msg"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "no argument of this name is known"
    if kind == "missing":
        return "missing"
    if kind == "union_tag_invalid":
        text = f"Its {error['ctx']['discriminator']} should be one of {error['ctx']['expected_tags']}"
    value = error["input"]
    quoted = str(value) if isinstance(value, str | int | float) else ""
    if len(quoted) >= _LEAST_SECRET:
        text = text.replace(quoted, "…")
    return publishable(text)[:_MAX_DETAIL]
