"""What of a request's body goes to which parameter of a handler, and what is refused."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from typing_extensions import TypedDict

from longcall._core.clock import SystemClock
from longcall.contract import CallRequest
from longcall.service import Call, CallFailed, Service, ServiceConfigError
from longcall.service.arguments import ArgumentsOf, InvalidArguments, invoke
from longcall.service.log_lines import LogWriter

if TYPE_CHECKING:
    from nowhere import Nothing

    import longcall.service as for_mypy


class Training(BaseModel):
    model: str
    epochs: int = Field(default=3, ge=1)


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str


@dataclass
class Night:
    day: date
    parts: list[int]


class Page(TypedDict):
    size: int


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


def fails(value: str) -> str:
    raise ValueError(f"{value} is no good")


def made(body: object) -> Call:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = CallRequest(correlation_id="a", body=data, content_type="application/json")
    log_writer = LogWriter(lambda _line: None, clock=SystemClock())
    return Call(request, attempt=1, on_progress=lambda _progress: None, log_writer=log_writer)


def given(function: Callable[..., Any], body: object = b"") -> Any:
    return invoke(function, made(body))


def refused(
    function: Callable[..., Any], body: object = b"", content_type: str = ""
) -> list[tuple[str, str]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidArguments) as raised:
        ArgumentsOf.of(function).bind(data, content_type)
    return [(error["pointer"], error["detail"]) for error in raised.value.errors]


def test_members_go_to_parameters_and_the_call_wherever_it_stands() -> None:
    def first(call: Call, day: date, epochs: int = 3) -> object:
        return call.id, day, epochs

    def last(day: date, *, epochs: int | None = None, job: Call) -> object:
        return job.id, day, epochs

    def positional(day: date, /, call: for_mypy.Call, json: list[int], _x: int = 0) -> Nothing:
        return call.id, day, json, _x  # type: ignore[no-any-return]

    day = date(2026, 1, 31)
    assert given(first, {"day": "2026-01-31", "epochs": "7"}) == ("a", day, 7)
    assert given(last, {"day": "2026-01-31"}) == ("a", day, None)
    assert given(positional, {"day": "2026-01-31", "json": [1], "_x": 2}) == ("a", day, [1], 2)


def test_lone_structure_takes_the_whole_body() -> None:
    def model(call: Call, training: Training) -> Training:
        return training

    def night(night: Night) -> Night:
        return night

    def page(page: Page) -> Page:
        return page

    def plain(arguments: dict[str, int]) -> dict[str, int]:
        return arguments

    def optional(training: Training | None = None) -> Training | None:
        return training

    assert given(model, {"model": "svc"}) == Training(model="svc", epochs=3)
    assert given(night, {"day": "2026-01-31", "parts": [1]}) == Night(date(2026, 1, 31), [1])
    assert given(page, {"size": 1}) == {"size": 1}
    assert given(plain, {"a": 1, "b": 2}) == {"a": 1, "b": 2}
    assert given(plain) == {}
    assert given(optional) is None
    assert given(optional, {"model": "svc"}) == Training(model="svc")


def test_two_structures_are_members() -> None:
    def both(training: Training, page: Page) -> object:
        return training.model, page

    assert given(both, {"training": {"model": "svc"}, "page": {"size": 1}}) == ("svc", {"size": 1})
    assert refused(both, {"training": {"model": "svc", "epochs": 0}, "page": {}}) == [
        ("/training/epochs", "Input should be greater than or equal to 1"),
        ("/page/size", "missing"),
    ]
    spelt = {"training": {"model": "svc", "epohcs": 9}, "page": {"size": 1}}
    assert refused(both, spelt) == [("/training/epohcs", "no argument of this name is known")]


def test_names_are_the_authors() -> None:
    def renamed(first: Annotated[int, Field(alias="from")], to: int = Field(default=9, le=9)) -> object:
        return first, to

    assert given(renamed, {"from": 1}) == (1, 9)
    assert refused(renamed, {"from": 1, "to": 10}) == [("/to", "Input should be less than or equal to 9")]


def test_member_that_allows_more_is_let() -> None:
    def train(training: Loose, night: bool) -> object:
        return training.model_extra

    assert given(train, {"training": {"model": "svc", "more": 1}, "night": True}) == {"more": 1}


def test_function_of_the_call_alone_is_not_validated() -> None:
    def unannotated(call):  # type: ignore[no-untyped-def]
        return call.body

    def annotated(call: Call) -> bytes:
        return call.body

    def anything(*args: Any, **kwargs: Any) -> bytes:
        return args[0].body  # type: ignore[no-any-return]

    for function in (unannotated, annotated, anything, functools.partial(annotated)):
        assert given(function, b"\xff no JSON") == b"\xff no JSON"


def test_function_without_parameters_takes_an_empty_body() -> None:
    def nightly() -> str:
        return "done"

    assert given(nightly) == given(nightly, {}) == "done"
    assert refused(nightly, {"day": 1}) == [("/day", "no argument of this name is known")]


def test_every_error_is_named_at_once() -> None:
    def train(call: Call, epochs: Annotated[int, Field(ge=1)], parts: list[int], note: str = "") -> None: ...

    assert refused(train, {"epochs": 0, "parts": [1, "x"], "nöte/~": ""}) == [
        ("/epochs", "Input should be greater than or equal to 1"),
        ("/parts/1", "Input should be a valid integer, unable to parse string as an integer"),
        ("/nöte~1~0", "no argument of this name is known"),
    ]
    assert refused(train) == [("/epochs", "missing"), ("/parts", "missing")]


@pytest.mark.parametrize("kind", [Training, Night, Page])
def test_misspelt_member_of_a_structure_is_refused(kind: type) -> None:
    def train(call, x):  # type: ignore[no-untyped-def]
        ...

    train.__annotations__ = {"call": Call, "x": kind}
    whole = {"model": "svc", "day": "2026-01-31", "parts": [], "size": 1}
    assert ("/epohcs", "no argument of this name is known") in refused(train, {**whole, "epohcs": 9})


def test_structure_that_allows_more_is_let() -> None:
    def train(training: Loose) -> object:
        return training.model_extra

    assert given(train, {"model": "svc", "more": 1}) == {"more": 1}


def test_values_never_stand_in_the_errors() -> None:
    def pets(
        pin: int,
        secret: SecretStr,
        checked: Annotated[str, AfterValidator(fails)],
        pet: Annotated[Cat | Dog, Field(discriminator="kind")],
        either: int | list[int],
    ) -> None: ...

    values = {"pin": "hunter2", "secret": 17_000, "checked": "hunter3", "pet": {"kind": "hunter4"}}
    errors = refused(pets, {**values, "either": "hunter5"})
    assert {pointer for pointer, _ in errors} == {"/pin", "/secret", "/checked", "/pet", "/either"}
    assert "hunter" not in str(errors)
    assert "17000" not in str(errors)


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"n": NaN}', b"[]", b"3", b"null"])
def test_body_that_is_no_object_is_refused(body: bytes) -> None:
    def train(n: float) -> None: ...

    ((pointer, _),) = refused(train, body)
    assert pointer == ""


def test_body_of_another_type_is_told() -> None:
    def train(n: int) -> None: ...

    assert refused(train, b"n=1", "application/x-www-form-urlencoded") == [
        ("", "JSON is expected, not application/x-www-form-urlencoded")
    ]
    assert ArgumentsOf.of(train).bind(b'\xef\xbb\xbf{"n": 1}', "").values == {"n": 1}


def test_errors_are_few_and_short() -> None:
    def train(parts: list[int]) -> None: ...

    assert len(refused(train, {"parts": ["x"] * 1000})) == 20
    ((pointer, _), _) = refused(train, {"y" * 100_000: 1})[::-1]
    assert len(pointer) < 1000


def test_signatures_that_cannot_work_are_refused_at_registration() -> None:
    def variadic(call: Call, *numbers: int) -> None: ...

    def keywords(call: Call, **more: int) -> None: ...

    def bare(call, epochs: int) -> None:  # type: ignore[no-untyped-def]
        ...

    def unknown(call: Call, thing: Nothing) -> None: ...

    def strange(call: Call, thing: Callable[[], asyncio.Future[int]] | asyncio.Lock) -> None: ...

    def twice(one: Call, two: Call) -> None: ...

    for function in (variadic, keywords, bare, unknown, strange, twice):
        with pytest.raises(ServiceConfigError, match=function.__name__):
            Service("x").handler("/x", isolation="process")(function)


async def test_asynchronous_handlers_are_called_alike() -> None:
    async def train(call: Call, epochs: int = 3) -> int:
        return epochs

    assert await given(train, {"epochs": 4}) == 4
    with pytest.raises(CallFailed, match="/epochs") as raised:
        await given(train, {"epochs": "many"})
    assert not raised.value.retryable


def test_a_default_that_changes_is_not_shared() -> None:
    def collect(n: int, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(n)
        return into

    arguments = ArgumentsOf.of(collect)
    for _ in range(2):
        assert invoke(collect, made({"n": 1}), arguments) == [1]
