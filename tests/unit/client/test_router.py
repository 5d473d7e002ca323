"""The router, on the memory transport with time moved by hand."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from longcall.client import Router, RouterConfig, SetAside
from longcall.contract import ContractError, Heartbeat, Progress, Succeeded
from longcall.transport import InboxNotFound, InboxSpec, TransportRefused, TransportUnavailable

if TYPE_CHECKING:
    from conftest import World


async def test_report_reaches_the_waiter_of_its_id_alone(world: World) -> None:
    async with (
        world.router.subscribe("r.1", inbox=world.inbox) as one,
        world.router.subscribe("r.2", inbox=world.inbox) as two,
    ):
        await world.publish("r.2", Succeeded.of("two"), id="b")
        await world.publish("r.1", Succeeded.of("one"), id="a")

        assert (await world.next(one)).report.body == Succeeded.of("one")
        assert (await world.next(two)).report.body == Succeeded.of("two")


async def test_progress_is_acknowledged_when_it_is_handed_on(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.publish("r.1", Progress(done=1))
        assert (await world.next(arrivals)).report.body == Progress(done=1)
        await world.settle()
        await world.advance(3600)

    assert await world.ready() == []


async def test_completion_stays_leased_until_it_is_acknowledged(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.publish("r.1")
        arrival = await world.next(arrivals)
        for _ in range(10):
            await world.advance(25)
            assert await world.ready() == []
        await arrival.acknowledge()
        await arrival.acknowledge()

    await world.advance(3600)
    assert await world.ready() == []


async def test_leaving_gives_an_unacknowledged_completion_back(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.publish("r.1", id="back")
        await world.next(arrivals)

    assert await world.ready() == ["back"]
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        assert (await world.next(arrivals)).report.id == "back"


async def test_cancelled_wait_gives_its_completion_back(world: World) -> None:
    received = asyncio.Event()

    async def wait() -> None:
        async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
            async for _arrival in arrivals:
                received.set()

    task = asyncio.create_task(wait())
    await world.publish("r.1", id="back")
    await received.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await world.ready() == ["back"]


async def test_report_published_twice_is_handed_once(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        for body, id in [
            (Heartbeat(), "h"),
            (Heartbeat(), "h"),
            (None, "c"),
            (None, "c"),
            (Heartbeat(), "z"),
        ]:
            await world.publish("r.1", body, id=id)
        received = [await world.next(arrivals) for _ in range(3)]
        assert [each.report.id for each in received] == ["h", "c", "z"]
        await received[1].acknowledge()

    await world.advance(3600)
    assert await world.ready() == []


async def test_repeat_of_an_acknowledged_completion_is_acknowledged(world: World) -> None:
    async with world.router.subscribe("r.other", inbox=world.inbox):
        async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
            await world.publish("r.1")
            await (await world.next(arrivals)).acknowledge()
        await world.publish("r.1")
        await world.settle()

    assert await world.ready() == []


async def test_two_waits_for_one_call_both_hear_of_it(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as one:
        await world.publish("r.1")
        first = await world.next(one)
        async with world.router.subscribe("r.1", inbox=world.inbox) as two:
            await (await world.next(two)).acknowledge()
        await first.acknowledge()
        await world.settle()

    assert await world.ready() == []


async def test_completion_that_comes_before_its_waiter_is_kept_for_it(world: World) -> None:
    async with world.router.subscribe("r.other", inbox=world.inbox):
        await world.publish("r.late")
        await world.settle()
        async with world.router.subscribe("r.late", inbox=world.inbox) as arrivals:
            await (await world.next(arrivals)).acknowledge()

    assert await world.ready() == []


async def test_waiter_who_registers_much_later_gets_a_completion_that_was_put_off(world: World) -> None:
    async with world.router.subscribe("r.other", inbox=world.inbox):
        await world.publish("r.late")
        await world.settle()
        for _ in range(60):
            await world.advance(0.5)
        async with world.router.subscribe("r.late", inbox=world.inbox) as arrivals:
            await (await world.next(arrivals)).acknowledge()


async def test_what_nobody_claims_is_left_to_others_and_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.router.subscribe("r.other", inbox=world.inbox):
        await world.publish("r.nobody", Succeeded.of("secret"), id="c")
        await world.publish("r.nobody", Progress(done=1), id="p")
        await world.settle()
        for _ in range(600):
            await world.advance(0.5)

    await world.advance(60)
    assert await world.ready() == ["c"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "r.nobody" in warnings[0]
    assert "secret" not in caplog.text


def impatient(world: World, told: list[SetAside], dead_letter_topic: str = "") -> Router:
    config = RouterConfig(set_aside_after=timedelta(hours=1), dead_letter_topic=dead_letter_topic)
    return Router(world.transport, config=config, clock=world.clock, on_set_aside=told.append)


async def pass_time(world: World, router: Router, *, hours: float) -> None:
    for _ in range(round(hours * 360)):
        world.clock.advance(10)
        await router.tick()
        await world.settle()


async def test_completion_that_nobody_claims_is_moved_to_the_dead_letter_topic_with_the_reason(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    letters, told = "projects/p/topics/dead-letters", []
    await world.transport.create_topic(letters)
    box = InboxSpec(name="projects/p/subscriptions/dead", topic=letters, filter="", expires_after_s=None)
    await world.transport.create_inbox(box)
    router = impatient(world, told, letters)
    async with router.subscribe("r.other", inbox=world.inbox):
        await world.publish("r.nobody", Succeeded.of("secret"), id="c")
        await pass_time(world, router, hours=0.9)
        assert not told
        await pass_time(world, router, hours=0.5)
    await router.aclose()

    async with world.transport.open_stream(box.name, lease_s=60) as stream:
        message = (await anext(aiter(stream))).message
    assert message.data == b'"secret"'
    assert message.attributes["correlid"] == "r.nobody"
    assert message.attributes["ce-id"] == "c"
    assert message.attributes["longcall-dead-letter-reason"] == "unclaimed"
    assert message.attributes["longcall-dead-letter-inbox"] == world.inbox
    assert [aside.report.correlation_id for aside in told] == ["r.nobody"]
    assert await world.ready() == []
    assert "moved to projects/p/topics/dead-letters" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("topic", ["", "projects/p/topics/not-there", "projects/p/topics/reports"])
async def test_completion_that_cannot_be_moved_stays_and_is_claimed_by_a_waiter_after_all(
    world: World, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    told: list[SetAside] = []
    router = impatient(world, told, topic)
    async with router.subscribe("r.other", inbox=world.inbox):
        await world.publish("r.nobody", id="c")
        await pass_time(world, router, hours=3)
        async with router.subscribe("r.nobody", inbox=world.inbox) as arrivals:
            arrival = await world.next(arrivals)
            assert arrival.report.id == "c"
            await arrival.acknowledge()
            await world.settle()
    await router.aclose()

    assert len(told) <= 2, "said once for each message, and it comes back once at the most"
    assert "r.nobody" in caplog.text
    assert await world.ready() == []


async def test_triggerer_that_comes_back_after_days_sets_nothing_aside_at_once(world: World) -> None:
    told: list[SetAside] = []
    await world.publish("r.late", id="c")
    world.clock.advance(12 * 3600)
    router = impatient(world, told)
    async with router.subscribe("r.other", inbox=world.inbox):
        await pass_time(world, router, hours=60 / 3600)
        async with router.subscribe("r.late", inbox=world.inbox) as arrivals:
            assert (await world.next(arrivals)).report.id == "c"
    await router.aclose()

    assert not told


async def test_another_process_gets_what_is_its_own(world: World) -> None:
    other = Router(world.transport, clock=world.clock)
    async with (
        world.router.subscribe("r.1", inbox=world.inbox) as one,
        other.subscribe("r.2", inbox=world.inbox) as two,
    ):
        for call in ("r.1", "r.2", "r.1", "r.2"):
            await world.publish(call, Progress(done=1), id=call + str(world.clock.monotonic_s()))
            await world.publish(call, id="c" + call)
        received = {one: [], two: []}
        for _ in range(200):
            await world.advance(0.1)
            await other.tick()
        for arrivals, ids in received.items():
            ids += [(await world.next(arrivals)).report.id for _ in range(2)]
    await other.aclose()

    assert set(received[one]) == {"r.10.0", "cr.1"}
    assert set(received[two]) == {"r.20.0", "cr.2"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"correlid": "r.1", "ce-type": "longcall.call.progress.v1"},
        {"correlid": "r.1", "ce-type": "longcall.call.failed.v1"},
        {"correlid": "r.1", "ce-attempt": "many"},
        {"correlid": ""},
        {"other": "x"},
    ],
)
async def test_malformed_message_is_dropped_with_its_reason(
    world: World, caplog: pytest.LogCaptureFixture, attributes: dict[str, str]
) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.publish_raw(**attributes)
        await world.publish("r.1", id="good")
        arrival = await world.next(arrivals)
        assert arrival.report.id == "good"
        await arrival.acknowledge()
        await world.settle()

    assert "is no report and was dropped" in caplog.text
    assert "secret" not in caplog.text
    assert await world.ready() == []


async def test_report_of_an_unknown_type_is_passed_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.publish_raw(correlid="r.1", **{"ce-type": "longcall.call.telepathy.v9"})
        await world.publish("r.1", id="good")
        assert (await world.next(arrivals)).report.id == "good"

    assert caplog.records == []


async def test_lost_connection_is_made_again(world: World) -> None:
    router = Router(
        world.transport, config=RouterConfig(reconnect_min=timedelta(microseconds=1)), clock=world.clock
    )
    async with router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.settle()
        world.backend.interrupt()
        await world.publish("r.1", id="after")
        assert (await world.next(arrivals)).report.id == "after"
    await router.aclose()


async def test_outage_is_waited_out(world: World) -> None:
    router = Router(
        world.transport,
        config=RouterConfig(reconnect_min=timedelta(microseconds=1), reconnect_max=timedelta(microseconds=2)),
        clock=world.clock,
    )
    async with router.subscribe("r.1", inbox=world.inbox) as arrivals:
        with world.backend.outage():
            waiting = asyncio.create_task(world.next(arrivals))
            await world.settle()
            assert not waiting.done()
        await world.publish("r.1", id="after")
        assert (await waiting).report.id == "after"
    await router.aclose()


async def test_inbox_that_is_gone_ends_its_waits_and_no_others(world: World) -> None:
    other = "projects/p/subscriptions/other"
    await world.transport.create_inbox(InboxSpec(name=other, topic="projects/p/topics/reports", filter=""))
    async with (
        world.router.subscribe("r.1", inbox=world.inbox) as gone,
        world.router.subscribe("r.2", inbox=other) as alive,
    ):
        await world.settle()
        await world.transport.delete_inbox(world.inbox)
        with pytest.raises(InboxNotFound):
            await world.next(gone)
        await world.publish("r.2")
        await world.next(alive)


async def test_inbox_that_was_made_again_can_be_waited_on_again(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as gone:
        await world.settle()
        await world.transport.delete_inbox(world.inbox)
        with pytest.raises(InboxNotFound):
            await world.next(gone)
        await world.transport.create_inbox(
            InboxSpec(name=world.inbox, topic="projects/p/topics/reports", filter="")
        )
        async with world.router.subscribe("r.1", inbox=world.inbox) as again:
            await world.publish("r.1", id="again")
            assert (await world.next(again)).report.id == "again"


async def test_closing_ends_every_wait_and_gives_back_what_is_held(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        await world.publish("r.1", id="held")
        await world.next(arrivals)
        await world.publish("r.nobody", id="unclaimed")
        await world.settle()

        await world.router.aclose()
        await world.router.aclose()

        assert await world.ready() == ["held", "unclaimed"]
        with pytest.raises(TransportUnavailable, match="closed"):
            await world.next(arrivals)
        with pytest.raises(TransportRefused, match="closed"):
            async with world.router.subscribe("r.2", inbox=world.inbox):
                pass


async def test_waiter_that_does_not_look_keeps_its_completion_and_bounded_progress(world: World) -> None:
    async with world.router.subscribe("r.1", inbox=world.inbox) as arrivals:
        for number in range(1500):
            await world.publish("r.1", Heartbeat(), id=str(number))
        await world.publish("r.1", id="end")
        for _ in range(20):
            await world.settle()
        received = [(await world.next(arrivals)).report.id for _ in range(1001)]

    assert received[-1] == "end"
    assert received[:1000] == [str(number) for number in range(1000)]


@pytest.mark.parametrize(
    "fields", [{"lease": timedelta(seconds=9)}, {"max_unclaimed": 0}, {"reconnect_min": timedelta(0)}]
)
def test_config_that_cannot_work_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ContractError, match=next(iter(fields))):
        RouterConfig(**fields)
