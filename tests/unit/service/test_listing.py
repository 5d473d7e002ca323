"""`GET /calls`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.unit.service.handlers import Work, make_service

from longcall.contract import ContractError, Problem
from longcall.contract.instants import encode_instant
from longcall.service.listing import decode_page

if TYPE_CHECKING:
    from tests.unit.service.conftest import OpenDesk


async def test_calls_are_listed_newest_first_page_by_page(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        for name in ("a", "b/1", "c"):
            await desk.start("/echo", name, body={"password": "swordfish"})
            await desk.completion(name)
        first = (await desk.http.get("/calls?page_size=2")).json()
        assert [call["correlid"] for call in first["calls"]] == ["c", "b/1"]
        assert (await desk.http.get(first["calls"][1]["location"])).json()["correlid"] == "b/1"
        rest = (await desk.http.get(f"/calls?page_size=2&page_token={first['next_page_token']}")).json()
        assert [call["correlid"] for call in rest["calls"]] == ["a"]
        assert "next_page_token" not in rest
        assert "swordfish" not in (await desk.http.get("/calls")).text


async def test_list_says_who_waits_as_the_request_did(open_desk: OpenDesk) -> None:
    async with open_desk(make_service(Work())) as desk:
        await desk.http.post("/echo?correlid=a", headers={"Longcall-Caller": "dag_id=train&task_id=call"})
        await desk.start("/echo", "b")
        said = {
            call["correlid"]: call.get("caller") for call in (await desk.http.get("/calls")).json()["calls"]
        }
        assert said == {"a": "dag_id=train&task_id=call", "b": None}


async def test_list_is_filtered(open_desk: OpenDesk) -> None:
    before = encode_instant(datetime(2026, 1, 1, tzinfo=UTC), field="t")
    async with open_desk(make_service(Work())) as desk:
        await desk.start("/refuses", "bad")
        await desk.start("/echo", "good")
        for name in ("bad", "good"):
            await desk.completion(name)
        for query, names in (
            ("state=failed", ["bad"]),
            ("handler=/echo", ["good"]),
            (f"since={before}", ["good", "bad"]),
            ("since=2999-01-01T00:00:00Z", []),
        ):
            calls = (await desk.http.get(f"/calls?{query}")).json()["calls"]
            assert [call["correlid"] for call in calls] == names, query
        (failed,) = (await desk.http.get("/calls?state=failed")).json()["calls"]
        assert (failed["title"], failed["handler"], failed["attempt"]) == ("Unknown model", "/refuses", 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"state": "nonsense"}, "state"),
        ({"since": "yesterday"}, "since"),
        ({"page_size": "-1"}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": "9" * 19}, "page_token"),
        ({"stat": "failed"}, "stat"),
    ],
)
async def test_bad_query_is_refused_with_the_field(
    open_desk: OpenDesk, query: dict[str, str], field: str
) -> None:
    with pytest.raises(ContractError, match=f"^{field}: "):
        decode_page(query)
    async with open_desk(make_service(Work())) as desk:
        answer = await desk.http.get("/calls", params=query)
        assert answer.status_code == 422
        assert field in Problem.from_wire(answer.json()).detail


def test_page_has_sane_bounds() -> None:
    assert decode_page({}).size == 100
    assert decode_page({"page_size": "0"}).size == 1
    assert decode_page({"page_size": "99999"}).size == 1000
