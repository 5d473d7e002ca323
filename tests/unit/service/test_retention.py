"""A running service forgets ended calls by itself, beyond a number and after a time."""

from __future__ import annotations

from longcall.service import Call, Service
from longcall.testing import ServiceClient

MINUTE_S, DAY_S = 60.0, 24 * 3600.0


def make_service() -> Service:
    service = Service("forgetful")

    @service.handler("/work")
    async def work(call: Call) -> int:
        return call.attempt

    return service


def known(client: ServiceClient) -> list[str]:
    return [call["correlid"] for call in client.request("GET", "/calls").json()["calls"]]


def test_latest_ended_calls_are_kept_and_those_not_for_ever() -> None:
    with ServiceClient(make_service(), max_ended=2, max_ended_age_s=DAY_S) as client:
        for number in range(4):
            client.start("/work", correlation_id=f"call-{number}").result()
        assert len(known(client)) == 4
        client.advance(MINUTE_S)
        assert known(client) == ["call-3", "call-2"]
        assert client.request("GET", "/calls/call-0").status_code == 404
        client.advance(DAY_S)
        client.advance(MINUTE_S)
        assert known(client) == []
