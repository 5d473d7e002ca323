"""The arguments of a handler, told from its signature: what of the request's body goes to which parameter.

The rules are FastAPI's where that has them. The parameter annotated `Call` gets the call, wherever it
stands. One further parameter that is a model, a dataclass, a `TypedDict` or a `dict` takes the whole body;
otherwise each is a member of the body's JSON object. A member that no parameter takes is refused: it is a
misspelt argument.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict, cast, runtime_checkable

from longcall._core.errors import LongcallError
from longcall.service.call import Call, Handler, HandlerResult
from longcall.service.errors import CallFailed, ServiceConfigError

if TYPE_CHECKING:
    from longcall.service.validation import BodyValidator

__all__ = ["ArgumentError", "ArgumentsOf", "BoundArguments", "ChecksArguments", "InvalidArguments", "invoke"]

_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ArgumentError(TypedDict):
    """One thing that is wrong with the arguments: where, as a JSON pointer (RFC 6901), and what."""

    pointer: str
    detail: str


class InvalidArguments(LongcallError):
    """The body is not what the handler takes; answered 422, before the call is accepted.

    Attributes:
        errors: what is wrong, at most 20 of them. They never hold a value that came with the request.
    """

    def __init__(self, errors: Sequence[ArgumentError]) -> None:
        super().__init__("; ".join(f"{e['pointer'] or 'body'}: {e['detail']}" for e in errors))
        self.errors = list(errors)


@runtime_checkable
class ChecksArguments(Protocol):
    """A handler that takes the call, and says itself whether the body is fit for it."""

    def check_arguments(self, body: bytes, content_type: str) -> None:
        """Return, or raise `InvalidArguments`."""


@dataclass(frozen=True, slots=True)
class BoundArguments:
    """Arguments fit for a function's call.

    Attributes:
        values: by parameter.
    """

    values: Mapping[str, object]
    _order: tuple[tuple[str, bool], ...] = ()
    _call: str = ""
    _call_only: bool = False

    def apply(self, function: Handler, call: Call) -> HandlerResult | Awaitable[HandlerResult]:
        """Call `function` with them, and with `call` where it takes that."""
        if self._call_only:
            return function(call)
        given = {**self.values, self._call: call}
        positional = [given[name] for name, by_name in self._order if not by_name]
        named = {name: given[name] for name, by_name in self._order if by_name}
        return cast("Callable[..., HandlerResult | Awaitable[HandlerResult]]", function)(*positional, **named)


@dataclass(frozen=True, slots=True)
class ArgumentsOf:
    """What a handler takes.

    A function whose only parameter is annotated `Call`, or not annotated, is given the call; the body is not
    looked at.
    """

    _order: tuple[tuple[str, bool], ...] = ()
    _call: str = ""
    _call_only: bool = False
    _validator: BodyValidator | None = None
    _checker: ChecksArguments | None = None

    @classmethod
    def of(cls, function: Handler) -> ArgumentsOf:
        """Read the signature of a handler, synchronous or asynchronous.

        Raises:
            ServiceConfigError: no JSON body can fit it, or an annotation cannot be understood.
        """
        checker: object = function
        if isinstance(checker, ChecksArguments):
            return cls(_call_only=True, _checker=checker)
        parameters = _parameters(function)
        if _takes_the_call_only(parameters):
            return cls(_call_only=True)
        hints = {name: _hint(function, parameter) for name, parameter in parameters.items()}
        calls = [name for name, hint in hints.items() if hint is Call]
        if len(calls) > 1:
            raise _refusal(function, f"{' and '.join(calls)} are both annotated Call: one is")
        if calls and len(hints) == 1 and parameters[calls[0]].kind is not inspect.Parameter.KEYWORD_ONLY:
            return cls(_call_only=True)
        from longcall.service.validation import BodyValidator

        rest = {name: hint for name, hint in hints.items() if hint is not Call}
        try:
            validator = BodyValidator.of(rest, {name: parameters[name].default for name in rest})
        except ServiceConfigError as error:
            raise _refusal(function, str(error)) from error
        by_name = inspect.Parameter.KEYWORD_ONLY
        order = tuple((name, parameter.kind is by_name) for name, parameter in parameters.items())
        return cls(_order=order, _call=calls[0] if calls else "", _validator=validator)

    @classmethod
    def of_the_call(cls) -> ArgumentsOf:
        """Return what a function of the call alone takes: nothing is validated."""
        return cls(_call_only=True)

    def bind(self, body: bytes, content_type: str) -> BoundArguments:
        """Return the arguments that a request's body holds.

        The body is read as JSON whatever its declared type, as `Call.arguments` does; an empty one is `{}`.

        Raises:
            InvalidArguments: it is not JSON, or not what the function takes.
        """
        if self._checker is not None:
            self._checker.check_arguments(body, content_type)
        if self._validator is None:
            return BoundArguments({}, _call_only=True)
        values = self._validator.validate(body, content_type)
        return BoundArguments(values, _order=self._order, _call=self._call)


def invoke(
    function: Handler, call: Call, arguments: ArgumentsOf | None = None
) -> HandlerResult | Awaitable[HandlerResult]:
    """Call a handler with what it takes of `call`; of an asynchronous one, return what is to be awaited.

    Args:
        function: the handler.
        call: its call.
        arguments: as read at its registration; None: read now.

    Raises:
        CallFailed: the body does not fit; not retryable. The service checks before it accepts, so this
            is a call that an older version of the service has accepted.
    """
    try:
        bound = (arguments or ArgumentsOf.of(function)).bind(call.body, call.content_type)
    except InvalidArguments as error:
        raise CallFailed("Bad arguments", detail=str(error), code="arguments", retryable=False) from error
    return bound.apply(function, call)


def _parameters(function: Handler) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise _refusal(function, "it has no signature that could be read") from error


def _takes_the_call_only(parameters: Mapping[str, inspect.Parameter]) -> bool:
    if not parameters:
        return False
    first, *rest = parameters.values()
    if first.kind is inspect.Parameter.KEYWORD_ONLY:
        return False
    if first.kind in _VARIADIC:  # a wrapper that hands on whatever it is given
        return first.kind is inspect.Parameter.VAR_POSITIONAL and all(p.kind in _VARIADIC for p in rest)
    return first.annotation is inspect.Parameter.empty and not rest


def _hint(function: Handler, parameter: inspect.Parameter) -> Any:
    """Return a parameter's annotation, resolved; `Call` itself where it is that."""
    if parameter.kind in _VARIADIC:
        raise _refusal(function, f"*{parameter.name}: name the arguments one by one, or take a dict")
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        raise _refusal(
            function, f"{parameter.name} has no annotation: say `{parameter.name}: Call`, or its type"
        )
    # One by one: what only a type checker imports may stand at others, such as the result.
    lone = SimpleNamespace(__annotations__={parameter.name: annotation})
    try:
        hint = typing.get_type_hints(lone, globalns=_globals_of(function), include_extras=True)[
            parameter.name
        ]
    except (NameError, AttributeError, LookupError, TypeError, ValueError, SyntaxError) as error:
        if isinstance(annotation, str) and annotation.rpartition(".")[2] == "Call":
            return Call  # imported for the type checker only
        raise _refusal(
            function, f"{parameter.name}: the annotation {annotation!r} is not understood: {error}"
        ) from error
    return Call if isinstance(hint, type) and issubclass(hint, Call) else hint


def _globals_of(function: Handler) -> dict[str, Any]:
    inner: Any = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inspect.unwrap(inner.func)
    if not hasattr(inner, "__globals__") and not hasattr(inner, "__func__"):
        inner = type(inner).__call__
    found: dict[str, Any] = getattr(getattr(inner, "__func__", inner), "__globals__", {})
    return found


def _refusal(function: Handler, reason: str) -> ServiceConfigError:
    return ServiceConfigError(getattr(function, "__qualname__", type(function).__name__), reason)
