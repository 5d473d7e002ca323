"""The double: a message system in memory, for tests that need no broker.

It honours what the port promises and passes the same conformance suite: leases,
redelivery, expiration, and the two filters that longcall makes. Nothing happens
by itself but what waits for it: a stream wakes when a lease of its inbox ends.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from longcall._core.clock import Clock, SystemClock
from longcall.contract import CORRELATION_ATTRIBUTE, MAX_MESSAGE_BYTES, Message
from longcall.transport.errors import (
    InboxConflict,
    InboxNotFound,
    TopicNotFound,
    TransportError,
    TransportRefused,
    TransportUnavailable,
)
from longcall.transport.port import DAY_S, Delivery, FoundInbox, InboxSpec, InboxStream

__all__ = ["MemoryBackend", "MemoryTransport"]

_DELETED_TOPIC: Final = "_deleted-topic_"
"""What Pub/Sub calls the topic of an inbox that has lost its own, whatever takes its name later."""
_LITERAL = r'"(?P<text>(?:[^"\\]|\\.)*)"'
_FILTER: Final = re.compile(
    rf"attributes\.{CORRELATION_ATTRIBUTE} = {_LITERAL}"
    rf"|hasPrefix\(attributes\.{CORRELATION_ATTRIBUTE}, {_LITERAL.replace('text', 'prefix')}\)"
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_RANGES: Final = {
    "ack_deadline_s": (10.0, 600.0),
    "retention_s": (600.0, 31 * DAY_S),
}


class MemoryBackend:
    """The message system itself; every `MemoryTransport` on it sees the same topics and inboxes.

    For one event loop. With a clock that is moved by hand, call `tick` after moving it.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._topics: dict[str, Mapping[str, str]] = {}
        self._inboxes: dict[str, _Inbox] = {}
        self._message_ids = itertools.count(1)
        self._is_out = False

    @property
    def inboxes(self) -> dict[str, InboxSpec]:
        """The inboxes that exist, by name."""
        self.tick()
        return {name: inbox.spec for name, inbox in self._inboxes.items()}

    def tick(self) -> None:
        """Carry out what is due: end leases, drop what was kept too long, delete unused inboxes."""
        now_s = self._clock.monotonic_s()
        for name, inbox in list(self._inboxes.items()):
            if inbox.is_expired(now_s):
                self._delete(name)
            else:
                inbox.expire(now_s)

    def interrupt(self) -> None:
        """Break every open stream, as a lost connection does."""
        for inbox in self._inboxes.values():
            inbox.interrupt(TransportUnavailable("interrupted", resource=inbox.spec.name))

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Be out of reach: streams break and every request ends with `TransportUnavailable`."""
        self._is_out = True
        self.interrupt()
        try:
            yield
        finally:
            self._is_out = False

    @property
    def topics(self) -> dict[str, Mapping[str, str]]:
        """The labels of the topics that exist, by name."""
        return dict(self._topics)

    def _create_topic(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        self._check_reachable(name)
        self._topics.setdefault(name, dict(labels or {}))

    def _delete_topic(self, name: str) -> None:
        self._check_reachable(name)
        if self._topics.pop(name, None) is not None:
            for inbox in self._inboxes.values():
                if inbox.spec.topic == name:
                    inbox.spec = replace(inbox.spec, topic=_DELETED_TOPIC)

    def _publish(self, topic: str, message: Message) -> str:
        self._check_topic(topic)
        if not (message.data or message.attributes):
            raise TransportRefused("a message needs data or an attribute", resource=topic)
        if len(message.data) > MAX_MESSAGE_BYTES:
            raise TransportRefused(f"a message has at most {MAX_MESSAGE_BYTES} bytes", resource=topic)
        self.tick()
        message_id = str(next(self._message_ids))
        stored = replace(
            message,
            attributes=dict(message.attributes),
            message_id=message_id,
            publish_time=self._clock.now(),
        )
        for inbox in self._inboxes.values():
            if inbox.spec.topic == topic:
                inbox.put(stored, now_s=self._clock.monotonic_s())
        return message_id

    def _create(self, spec: InboxSpec) -> None:
        _check_spec(spec)
        self._check_topic(spec.topic)
        self.tick()
        found = self._inboxes.get(spec.name)
        if found is None:
            self._inboxes[spec.name] = _Inbox(spec, _parse_filter(spec.filter), self._clock.monotonic_s())
        elif (found.spec.topic, found.spec.filter) != (spec.topic, spec.filter):
            raise InboxConflict(
                f"{spec.name} exists with topic {found.spec.topic} and filter {found.spec.filter!r}, "
                f"not {spec.topic} and {spec.filter!r}: use another name, or delete it",
                resource=spec.name,
            )

    def _delete(self, name: str) -> None:
        self._check_reachable(name)
        inbox = self._inboxes.pop(name, None)
        if inbox is not None:
            inbox.interrupt(InboxNotFound(f"{name} was deleted", resource=name))

    def _find(self, name: str) -> _Inbox:
        self._check_reachable(name)
        self.tick()
        inbox = self._inboxes.get(name)
        if inbox is None:
            raise InboxNotFound(f"{name} does not exist", resource=name)
        inbox.used_s = self._clock.monotonic_s()
        return inbox

    def _check_topic(self, name: str) -> None:
        self._check_reachable(name)
        if name not in self._topics:
            raise TopicNotFound(f"{name} does not exist", resource=name)

    def _check_reachable(self, resource: str) -> None:
        if self._is_out:
            raise TransportUnavailable("out of reach", resource=resource)


class MemoryTransport:
    """`Transport` to a `MemoryBackend`."""

    def __init__(self, backend: MemoryBackend, *, clock: Clock | None = None) -> None:
        """Connect; `clock` is the backend's."""
        self._backend = backend
        self._clock = clock or backend._clock
        self._streams: set[_Stream] = set()
        self._closed = False

    async def create_topic(self, name: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Create a topic; see `Transport.create_topic`."""
        self._open()._create_topic(name, labels)

    async def delete_topic(self, name: str) -> None:
        """Delete a topic; see `Transport.delete_topic`."""
        self._open()._delete_topic(name)

    async def publish(self, topic: str, message: Message) -> str:
        """Publish; see `Transport.publish`."""
        return self._open()._publish(topic, message)

    async def create_inbox(self, spec: InboxSpec) -> None:
        """Create an inbox; see `Transport.create_inbox`. A filter longcall does not make is refused."""
        self._open()._create(spec)

    async def delete_inbox(self, name: str) -> None:
        """Delete an inbox; see `Transport.delete_inbox`."""
        self._open()._delete(name)

    async def list_inboxes(self, project: str) -> Sequence[FoundInbox]:
        """List the inboxes; see `Transport.list_inboxes`."""
        return [
            FoundInbox(name=name, topic=spec.topic, labels=spec.labels)
            for name, spec in self._open().inboxes.items()
            if name.startswith(f"projects/{project}/")
        ]

    async def list_topics(self, project: str) -> Mapping[str, Mapping[str, str]]:
        """List the topics; see `Transport.list_topics`."""
        found = self._open().topics
        return {name: labels for name, labels in found.items() if name.startswith(f"projects/{project}/")}

    @asynccontextmanager
    async def open_stream(self, inbox: str, *, lease_s: float) -> AsyncIterator[InboxStream]:
        """Open a stream; see `Transport.open_stream`."""
        found = self._open()._find(inbox)
        stream = _Stream(found, self._clock, lease_s)
        found.streams.append(stream)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            found.streams.remove(stream)
            self._streams.discard(stream)
            found.used_s = self._clock.monotonic_s()

    async def acknowledge(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Acknowledge; see `Transport.acknowledge`."""
        self._open()._find(inbox).acknowledge(ack_ids)

    async def extend(self, inbox: str, ack_ids: Sequence[str], *, lease_s: float) -> None:
        """Extend leases; see `Transport.extend`."""
        self._open()._find(inbox).extend(ack_ids, until_s=self._clock.monotonic_s() + lease_s)

    async def release(self, inbox: str, ack_ids: Sequence[str]) -> None:
        """Give leases up; see `Transport.release`."""
        self._open()._find(inbox).release(ack_ids)

    async def aclose(self) -> None:
        """Close the streams; see `Transport.aclose`."""
        self._closed = True
        for stream in self._streams:
            stream.end(TransportUnavailable("the transport was closed"))

    def _open(self) -> MemoryBackend:
        if self._closed:
            raise TransportRefused("the transport was closed: make another")
        return self._backend


@dataclass(frozen=True, slots=True)
class _Filter:
    exact: str | None
    prefix: str

    def lets_through(self, message: Message) -> bool:
        value = message.attributes.get(CORRELATION_ATTRIBUTE)
        if self.exact is not None:
            return value == self.exact
        return not self.prefix or (value is not None and value.startswith(self.prefix))


@dataclass(slots=True)
class _Lease:
    message: Message
    stored_s: float
    until_s: float


@dataclass(slots=True)
class _Inbox:
    """One inbox: a message is either ready, or leased under one ack id."""

    spec: InboxSpec
    filter: _Filter
    used_s: float
    streams: deque[_Stream] = field(default_factory=deque)
    _ready: deque[tuple[Message, float]] = field(default_factory=deque)
    _leases: dict[str, _Lease] = field(default_factory=dict)
    _ack_ids: Iterator[int] = field(default_factory=itertools.count)

    def put(self, message: Message, *, now_s: float) -> None:
        if self.filter.lets_through(message):
            self._ready.append((message, now_s))
            self._wake()

    def lease(self, *, now_s: float, lease_s: float) -> Delivery | None:
        self.expire(now_s)
        if not self._ready:
            return None
        message, stored_s = self._ready.popleft()
        ack_id = f"{self.spec.name}:{next(self._ack_ids)}"
        self._leases[ack_id] = _Lease(message, stored_s, now_s + lease_s)
        return Delivery(message=message, ack_id=ack_id)

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        for ack_id in ack_ids:
            self._leases.pop(ack_id, None)

    def extend(self, ack_ids: Sequence[str], *, until_s: float) -> None:
        for ack_id in ack_ids:
            if ack_id in self._leases:
                self._leases[ack_id].until_s = until_s
        for stream in self.streams:
            stream.changed.set()

    def release(self, ack_ids: Sequence[str]) -> None:
        for ack_id in ack_ids:
            lease = self._leases.pop(ack_id, None)
            if lease is not None:
                self._ready.appendleft((lease.message, lease.stored_s))
        self._wake()

    def next_end_s(self) -> float | None:
        return min((lease.until_s for lease in self._leases.values()), default=None)

    def expire(self, now_s: float) -> None:
        ended = [ack_id for ack_id, lease in self._leases.items() if lease.until_s <= now_s]
        oldest_s = now_s - self.spec.retention_s
        while self._ready and self._ready[0][1] < oldest_s:
            self._ready.popleft()
        if ended:
            self.release(ended)

    def is_expired(self, now_s: float) -> bool:
        after_s = self.spec.expires_after_s
        return after_s is not None and not self.streams and now_s - self.used_s >= after_s

    def interrupt(self, error: TransportError) -> None:
        for stream in self.streams:
            stream.end(error)

    def _wake(self) -> None:
        self.streams.rotate()  # they take turns
        for stream in self.streams:
            stream.changed.set()


class _Stream:
    def __init__(self, inbox: _Inbox, clock: Clock, lease_s: float) -> None:
        self.changed = asyncio.Event()
        self._inbox = inbox
        self._clock = clock
        self._lease_s = lease_s
        self._error: TransportError | None = None

    def end(self, error: TransportError) -> None:
        self._error = error
        self.changed.set()

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            if self._error is not None:
                raise self._error
            self.changed.clear()
            delivery = self._inbox.lease(now_s=self._clock.monotonic_s(), lease_s=self._lease_s)
            if delivery is not None:
                return delivery
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        end_s = self._inbox.next_end_s()
        pause_s = None if end_s is None else max(0.0, end_s - self._clock.monotonic_s())
        with suppress(TimeoutError):  # a lease has ended
            async with asyncio.timeout(pause_s):
                await self.changed.wait()


def _check_spec(spec: InboxSpec) -> None:
    for name, (least, most) in _RANGES.items():
        if not least <= getattr(spec, name) <= most:
            raise TransportRefused(f"{name}: {least:g} to {most:g}", resource=spec.name)
    if spec.expires_after_s is None:
        return
    if spec.expires_after_s < DAY_S:
        raise TransportRefused(f"expires_after_s: {DAY_S:g} at least", resource=spec.name)
    if spec.retention_s > spec.expires_after_s:
        raise TransportRefused(
            "retention_s: no longer than expires_after_s, since nothing outlives its inbox",
            resource=spec.name,
        )


def _parse_filter(text: str) -> _Filter:
    if not text:
        return _Filter(exact=None, prefix="")
    match = _FILTER.fullmatch(text)
    if match is None:
        raise TransportRefused(
            f"filter {text!r}: the memory transport knows those that "
            "longcall.contract.correlation_filter and inbox_filter make"
        )
    if match["text"] is not None:
        return _Filter(exact=_unquote(match["text"]), prefix="")
    return _Filter(exact=None, prefix=_unquote(match["prefix"]))


def _unquote(text: str) -> str:
    return _ESCAPE.sub(lambda found: found[3] or chr(int(found[1] or found[2], 16)), text)
