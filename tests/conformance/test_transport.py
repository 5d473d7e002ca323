"""What every transport does. A double that fails here is a bug in the double."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from longcall.contract import MAX_MESSAGE_BYTES, Message, correlation_filter, inbox_filter
from longcall.transport import (
    InboxConflict,
    InboxNotFound,
    TopicNotFound,
    Transport,
    TransportRefused,
    TransportUnavailable,
)

if TYPE_CHECKING:
    from conftest import System

LEASE_S = 10.0
WAIT_S = 30.0
DAY_S = 86400.0
HOSTILE = [
    "it's",
    "a b" * 3,
    "semi;colon",
    "(paren) AND NOT x",
    "percent%20",
    "ünïcode-日本",
    'quote"d',
    "back\\",
]
MISSING = "projects/p/subscriptions/no-such-inbox"


def skip_without_filters(system: System) -> None:
    if system.name == "google":
        pytest.skip("emulators before Cloud SDK 555.0.0 ignore filters")


async def test_message_arrives_as_it_was_published(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    attributes = {"correlid": "lc-1", "ce-type": "x.v1", "empty": "", "ünï": "日本\n\t"}

    message_id = await system.transport.publish(
        system.topic, Message(data=b"\x00\xff", attributes=attributes)
    )

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        message = (await system.receive(stream)).message
    assert (message.data, dict(message.attributes)) == (b"\x00\xff", attributes)
    assert message.message_id == message_id
    assert isinstance(message.publish_time, datetime)
    assert message.publish_time.tzinfo is not None


async def test_message_reaches_a_stream_that_is_open_already(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        receiving = asyncio.create_task(system.receive(stream))
        await system.other.publish(system.topic, Message(data=b"late"))
        assert (await receiving).message.data == b"late"


async def test_inboxes_are_listed_with_their_labels(system: System) -> None:
    spec = replace(system.spec(), labels={"source": "longcall", "n": "1"})
    await system.transport.create_inbox(spec)
    project = spec.name.split("/")[1]

    (found,) = [each for each in await system.other.list_inboxes(project) if each.name == spec.name]
    assert (found.topic, dict(found.labels)) == (system.topic, dict(spec.labels))
    assert spec.name not in {each.name for each in await system.other.list_inboxes("another-project")}
    await system.transport.delete_inbox(spec.name)
    assert spec.name not in {each.name for each in await system.other.list_inboxes(project)}


async def test_every_inbox_of_a_topic_gets_the_message(system: System) -> None:
    specs = [system.spec(), system.spec()]
    for spec in specs:
        await system.transport.create_inbox(spec)
    await system.publish("both")

    for spec in specs:
        async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
            assert (await system.receive(stream)).message.data == b"both"


async def test_inbox_has_nothing_that_was_published_before_it(system: System) -> None:
    await system.publish("before")
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish("after")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"after"


@pytest.mark.parametrize("correlation_id", HOSTILE)
async def test_exact_filter_lets_through_one_id_alone(system: System, correlation_id: str) -> None:
    skip_without_filters(system)
    spec = system.spec(filter=correlation_filter(correlation_id))
    await system.transport.create_inbox(spec)
    for other in (correlation_id + "x", correlation_id[:-1], correlation_id.swapcase() + ".", ""):
        await system.publish("not mine", correlid=other)
    await system.publish("no id at all")
    await system.publish("mine", correlid=correlation_id)

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"mine"


@pytest.mark.parametrize("inbox", HOSTILE)
async def test_prefix_filter_lets_through_the_ids_of_one_inbox(system: System, inbox: str) -> None:
    skip_without_filters(system)
    spec = system.spec(filter=inbox_filter(inbox))
    await system.transport.create_inbox(spec)
    for other in (inbox, inbox + "x.1", "x" + inbox + ".1"):
        await system.publish("not mine", correlid=other)
    await system.publish("no id at all")
    await system.publish("mine", correlid=f"{inbox}.1")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"mine"


async def test_expired_lease_is_redelivered(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish()

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        first = await system.receive(stream)
        system.advance(LEASE_S + 1)
        second = await system.receive(stream)

    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id


async def test_extended_lease_is_kept(system: System) -> None:
    if system.name == "google":
        pytest.skip("its time cannot be moved")
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish("held")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        held = await system.receive(stream)
        await system.transport.extend(spec.name, [held.ack_id], lease_s=60.0)
        system.advance(LEASE_S + 1)
        await system.publish("next")
        assert (await system.receive(stream)).message.data == b"next"


async def test_released_message_is_delivered_again_at_once(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish()

    async with system.transport.open_stream(spec.name, lease_s=600.0) as stream:
        first = await system.receive(stream)
        await system.transport.release(spec.name, [first.ack_id])
        assert (await system.receive(stream)).message.message_id == first.message.message_id


async def test_message_left_by_a_closed_stream_comes_again(system: System) -> None:
    spec = system.spec(ack_deadline_s=LEASE_S)
    await system.transport.create_inbox(spec)
    await system.publish("left")
    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        await system.receive(stream)

    async with system.other.open_stream(spec.name, lease_s=LEASE_S) as stream:
        system.advance(LEASE_S + 1)
        assert (await system.receive(stream)).message.data == b"left"


async def test_acknowledged_message_never_comes_again(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish("done")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        done = await system.receive(stream)
        await system.transport.acknowledge(spec.name, [done.ack_id])
        system.advance(LEASE_S + 1)
        await system.publish("next")
        assert (await system.receive(stream)).message.data == b"next"


async def test_ack_ids_that_are_over_are_ignored(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish()

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        first = await system.receive(stream)
        await system.transport.acknowledge(spec.name, [first.ack_id])
        await system.transport.acknowledge(spec.name, [first.ack_id])
        await system.transport.extend(spec.name, [first.ack_id], lease_s=60.0)
        await system.transport.release(spec.name, [first.ack_id])
        await system.publish("next")
        assert (await system.receive(stream)).message.data == b"next"


async def test_nothing_to_acknowledge_is_nothing_to_do(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)

    await system.transport.acknowledge(spec.name, [])
    await system.transport.extend(spec.name, [], lease_s=60.0)
    await system.transport.release(spec.name, [])


async def test_two_streams_share_an_inbox(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    received: asyncio.Queue[str] = asyncio.Queue()

    async def consume(transport: Transport) -> None:
        async with transport.open_stream(spec.name, lease_s=600.0) as stream:
            async for delivery in stream:
                received.put_nowait(delivery.message.message_id)

    consumers = [asyncio.create_task(consume(each)) for each in (system.transport, system.other)]
    published = [await system.publish(str(number)) for number in range(10)]
    async with asyncio.timeout(WAIT_S):
        arrived = [await received.get() for _ in published]
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)

    assert sorted(arrived) == sorted(published)
    assert received.empty()


async def test_deleting_an_inbox_ends_its_stream(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish()

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        await system.receive(stream)
        await system.other.delete_inbox(spec.name)
        with pytest.raises(InboxNotFound) as caught:
            await system.receive(stream)
    assert caught.value.resource == spec.name
    assert not caught.value.retryable


async def test_stream_of_a_missing_inbox_says_so(system: System) -> None:
    with pytest.raises(InboxNotFound):
        async with system.transport.open_stream(MISSING, lease_s=LEASE_S) as stream:
            await system.receive(stream)


async def test_recreated_inbox_is_empty(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish("old")
    await system.transport.delete_inbox(spec.name)
    await system.transport.create_inbox(spec)
    await system.publish("new")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"new"


async def test_creating_an_inbox_twice_changes_nothing(system: System) -> None:
    spec = system.spec(filter=correlation_filter("lc-1"), labels={"source": "longcall"})
    await system.transport.create_inbox(spec)
    await system.publish("kept", correlid="lc-1")

    await system.other.create_inbox(spec)

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"kept"


@pytest.mark.parametrize("what", ["filter", "topic"])
async def test_another_inbox_of_the_same_name_is_refused(system: System, what: str) -> None:
    spec = system.spec(filter=correlation_filter("lc-1"))
    await system.transport.create_inbox(spec)
    other = {"filter": correlation_filter("lc-2"), "topic": system.topic + "-other"}
    await system.transport.create_topic(system.topic + "-other")

    with pytest.raises(InboxConflict, match="use another name") as caught:
        await system.transport.create_inbox(
            system.spec(**{"name": spec.name, "filter": spec.filter} | {what: other[what]})
        )
    assert caught.value.resource == spec.name


async def test_missing_topic_is_named(system: System) -> None:
    missing = "projects/p/topics/no-such-topic"

    with pytest.raises(TopicNotFound, match="no-such-topic"):
        await system.transport.publish(missing, Message(data=b"x"))
    with pytest.raises(TopicNotFound, match="no-such-topic"):
        await system.transport.create_inbox(system.spec(topic=missing))


@pytest.mark.emulator_deviates("10,000,001 bytes are accepted")
async def test_message_that_pubsub_does_not_take_is_refused(system: System) -> None:
    with pytest.raises(TransportRefused):
        await system.transport.publish(system.topic, Message(data=bytes(MAX_MESSAGE_BYTES + 1)))


async def test_creating_a_topic_twice_changes_nothing(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)

    await system.transport.create_topic(system.topic)
    await system.publish("still one topic")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"still one topic"


async def test_topic_that_is_deleted_takes_no_message_and_what_is_in_its_inbox_stays(system: System) -> None:
    topic, spec = f"{system.topic}-own", system.spec()
    await system.transport.create_topic(topic, labels={"source": "longcall"})
    spec = replace(spec, topic=topic, filter="")
    await system.transport.create_inbox(spec)
    await system.transport.publish(topic, Message(data=b"before"))

    project = topic.split("/")[1]
    assert (await system.transport.list_topics(project))[topic] == {"source": "longcall"}
    assert topic not in await system.transport.list_topics("another-project")
    await system.transport.delete_topic(topic)
    await system.transport.delete_topic(topic)
    assert topic not in await system.transport.list_topics(project)

    with pytest.raises(TopicNotFound):
        await system.transport.publish(topic, Message(data=b"after"))
    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"before"


async def test_inbox_is_not_taken_for_that_of_a_later_topic_of_the_same_name(system: System) -> None:
    topic = f"{system.topic}-own"
    spec = replace(system.spec(), topic=topic, filter="")
    await system.transport.create_topic(topic)
    await system.transport.create_inbox(spec)
    await system.transport.delete_topic(topic)
    await system.transport.create_topic(topic)

    with pytest.raises(InboxConflict):
        await system.transport.create_inbox(spec)


async def test_deleting_a_missing_inbox_is_no_error(system: System) -> None:
    await system.transport.delete_inbox(MISSING)


async def test_requests_for_a_missing_inbox_say_so(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish()
    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        ack_id = (await system.receive(stream)).ack_id
    await system.transport.delete_inbox(spec.name)

    with pytest.raises(InboxNotFound):
        await system.transport.acknowledge(spec.name, [ack_id])
    with pytest.raises(InboxNotFound):
        await system.transport.extend(spec.name, [ack_id], lease_s=60.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"retention_s": 2 * DAY_S},
        {"expires_after_s": DAY_S - 1, "retention_s": 600.0},
        {"retention_s": 599.0},
        {"ack_deadline_s": 601.0},
    ],
)
async def test_inbox_that_google_would_refuse_is_refused(system: System, fields: dict[str, float]) -> None:
    if system.name == "google":
        pytest.skip("its emulator takes them")
    with pytest.raises(TransportRefused):
        await system.transport.create_inbox(system.spec(**fields))


async def test_inbox_that_never_expires_may_keep_for_long(system: System) -> None:
    spec = system.spec(expires_after_s=None, retention_s=7 * DAY_S)
    await system.transport.create_inbox(spec)
    system.advance(32 * DAY_S)
    await system.publish("here")

    async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
        assert (await system.receive(stream)).message.data == b"here"


async def test_unused_inbox_expires(system: System) -> None:
    if system.name == "google":
        pytest.skip("its inboxes never expire")
    spec = system.spec()
    await system.transport.create_inbox(spec)

    system.advance(DAY_S + 1)

    with pytest.raises(InboxNotFound):
        async with system.transport.open_stream(spec.name, lease_s=LEASE_S) as stream:
            await system.receive(stream)


async def test_closing_the_transport_ends_its_streams(system: System) -> None:
    spec = system.spec()
    await system.transport.create_inbox(spec)
    await system.publish()

    async with system.other.open_stream(spec.name, lease_s=LEASE_S) as stream:
        await system.receive(stream)
        receiving = asyncio.create_task(system.receive(stream))
        await system.other.aclose()
        with pytest.raises(TransportUnavailable):
            await receiving


async def test_closed_transport_refuses(system: System) -> None:
    await system.other.aclose()
    await system.other.aclose()

    with pytest.raises(TransportRefused, match="closed"):
        await system.other.publish(system.topic, Message(data=b"x"))
