"""Bad arguments are answered before the call is accepted, and name what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from longcall.contract import JsonValue, Succeeded
from longcall.service import Call, Service

if TYPE_CHECKING:
    from tests.unit.service.conftest import OpenDesk


async def test_bad_arguments_are_no_call(open_desk: OpenDesk) -> None:
    service = Service("x")

    @service.handler("/train")
    async def train(call: Call, epochs: Annotated[int, Field(ge=1)]) -> int:
        return epochs

    async with open_desk(service) as desk:
        answer = await desk.start("/train", "a", body={"epochs": 0})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        problem = answer.json()
        assert (problem["title"], problem["status"], problem["retryable"]) == ("Bad arguments", 422, False)
        assert problem["errors"] == [
            {"pointer": "/epochs", "detail": "Input should be greater than or equal to 1"}
        ]
        assert (await desk.http.get("/calls/a")).status_code == 404
        assert (await desk.start("/train", "a", body={"epochs": 2})).status_code == 202
        assert await desk.completion("a") == Succeeded.of(2)


async def test_call_that_was_taken_on_before_the_service_became_stricter_is_still_that_call(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    held, stricter = Service("tests"), Service("tests")

    @held.handler("/h")
    async def anything(call: Call) -> JsonValue:
        return "taken"

    @stricter.handler("/h")
    async def number(depth: int) -> JsonValue:
        return depth

    async with open_desk(held, store=str(tmp_path)) as desk:
        await desk.start("/h", "a", body={"depth": "deep"})
        await desk.reports("a")
    async with open_desk(stricter, store=str(tmp_path)) as desk:
        again = await desk.start("/h", "a", body={"depth": "deep"})
        assert (again.status_code, again.json()["result"]["data"]) == (200, "taken")
        assert (await desk.start("/h", "a", body={"depth": "deeper"})).status_code == 422
        assert (await desk.start("/h", "b", body={"depth": "deep"})).status_code == 422
