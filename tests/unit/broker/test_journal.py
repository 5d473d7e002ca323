"""What a journal keeps, and how it is read and waited for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from longcall.broker.core.journal import Event, Journal
from longcall.testing.clock import VirtualClock

INBOX = "projects/p/subscriptions/inbox"
ALL = 1_000_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def journal(clock: VirtualClock) -> Journal:
    return Journal(clock)


def _numbers(events: list[Event]) -> list[int]:
    return [event.number for event in events]


async def test_event_says_what_happened_where_and_when(journal: Journal, clock: VirtualClock) -> None:
    clock.advance(60)
    journal.note("delivered", INBOX, 7, attempt=2)
    at = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert journal.since(0, at_most=ALL) == [Event(0, at, "delivered", INBOX, "7", 2, None)]


async def test_events_are_read_in_pages(journal: Journal) -> None:
    for message_id in range(5):
        journal.note("acknowledged", INBOX, message_id)
    assert _numbers(journal.since(0, at_most=2)) == [0, 1]
    assert _numbers(journal.since(2, at_most=2)) == [2, 3]
    assert _numbers(journal.since(4, at_most=2)) == [4]
    assert journal.since(5, at_most=2) == []
    assert journal.since(99, at_most=2) == []


async def test_oldest_events_make_room_and_keep_their_numbers(clock: VirtualClock) -> None:
    journal = Journal(clock, kept=3)
    for message_id in range(5):
        journal.note("acknowledged", INBOX, message_id)
    assert _numbers(journal.since(0, at_most=ALL)) == [2, 3, 4]
    assert _numbers(journal.since(3, at_most=ALL)) == [3, 4]


async def test_wait_ends_with_the_event_it_is_for(journal: Journal) -> None:
    journal.note("acknowledged", INBOX, 1)
    waiting = asyncio.create_task(journal.wait(2, 60.0, at_most=ALL))
    assert not (await asyncio.wait({waiting}, timeout=0))[0]
    journal.note("acknowledged", INBOX, 2)
    assert not (await asyncio.wait({waiting}, timeout=0))[0]
    journal.note("acknowledged", INBOX, 3)
    assert [event.message_id for event in await waiting] == ["3"]


async def test_wait_for_what_is_there_does_not_wait_and_for_what_is_not_ends(journal: Journal) -> None:
    journal.note("acknowledged", INBOX, 1)
    assert _numbers(await journal.wait(0, 0.0, at_most=ALL)) == [0]
    assert await journal.wait(1, 0.01, at_most=ALL) == []
