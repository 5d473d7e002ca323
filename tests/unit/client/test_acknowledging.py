"""Many acknowledgements at once are few requests; each who asked hears what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from longcall.client._acknowledging import Acknowledgements
from longcall.transport import TransportUnavailable
from longcall.transport.memory import MemoryBackend, MemoryTransport

INBOX = "projects/p/subscriptions/reports"


class SlowTransport(MemoryTransport):
    """Takes acknowledgements when it is let, and may be out of reach."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.requests: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.is_out = False

    async def acknowledge(self, inbox: str, ack_ids: Sequence[str]) -> None:
        assert inbox == INBOX
        self.requests.append(list(ack_ids))
        await self.may_answer.wait()
        if self.is_out:
            raise TransportUnavailable("out of reach")


async def ask(acknowledgements: Acknowledgements, number: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(acknowledgements.acknowledge([f"a{n}"])) for n in range(number)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_what_is_asked_for_while_a_request_is_under_way_goes_with_the_next() -> None:
    transport = SlowTransport()
    acknowledgements = Acknowledgements(INBOX, transport)
    first = await ask(acknowledgements, 1)
    rest = await ask(acknowledgements, 500)

    assert transport.requests == [["a0"]], "the first waits for nobody"
    assert not any(task.done() for task in [*first, *rest])
    transport.may_answer.set()
    await asyncio.gather(*first, *rest)

    assert [len(request) for request in transport.requests] == [1, 500]
    await acknowledgements.aclose(timeout_s=1)


async def test_each_who_asked_hears_of_the_failure_and_the_next_request_is_made_all_the_same() -> None:
    transport = SlowTransport()
    transport.is_out = True
    transport.may_answer.set()
    acknowledgements = Acknowledgements(INBOX, transport)
    for task in await ask(acknowledgements, 3):
        with pytest.raises(TransportUnavailable):
            await task
    transport.is_out = False
    await acknowledgements.acknowledge(["b"])

    assert transport.requests[-1] == ["b"]


async def test_who_stops_waiting_does_not_stop_the_acknowledgement() -> None:
    transport = SlowTransport()
    acknowledgements = Acknowledgements(INBOX, transport)
    first, second = await ask(acknowledgements, 2)
    first.cancel()
    transport.may_answer.set()
    await second

    assert first.cancelled()
    assert sorted(each for request in transport.requests for each in request) == ["a0", "a1"]


async def test_closing_waits_for_what_is_under_way_and_not_for_ever() -> None:
    transport = SlowTransport()
    acknowledgements = Acknowledgements(INBOX, transport)
    (waiting,) = await ask(acknowledgements, 1)
    await acknowledgements.aclose(timeout_s=0.01)
    await acknowledgements.aclose(timeout_s=0.01)

    with pytest.raises(asyncio.CancelledError):
        await waiting
