"""A broker as a test sees it: what has happened in it, and what shall go wrong."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from longcall._core.errors import LongcallError
from longcall.broker.api.testing import TESTING_SERVICE

__all__ = ["BrokerEvent", "InspectedBroker", "NeverHappened"]

_POLL_S: Final = 5.0


class NeverHappened(LongcallError, AssertionError):
    """What a test has waited for did not come; the message says what did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerEvent:
    """One thing that happened to a message.

    Attributes:
        at: when, on the broker's clock, in UTC.
        what: `published`, `delivered`, `acknowledged`, `nacked`, `expired`, `dead_lettered` or `dropped`.
        where: full name of the topic of `published`, else of the subscription.
        message_id: as the publisher was told.
        attempt: of `delivered`, from 1; else 0.
        data: of `published`; else empty.
        attributes: likewise.
        ordering_key: likewise.
    """

    at: datetime
    what: str
    where: str
    message_id: str
    attempt: int = 0
    data: bytes = b""
    attributes: Mapping[str, str]
    ordering_key: str = ""


class InspectedBroker:
    """A running broker. Topics and subscriptions may be given by their full name or by the last part of it.

    Attributes:
        address: `host:port`: the value of PUBSUB_EMULATOR_HOST.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])

    def close(self) -> None:
        """Let go of the connection. A repeat does nothing."""
        self._channel.close()

    # What happened

    def events(self) -> list[BrokerEvent]:
        """Return all that has happened so far, as far as it is kept: the latest 100,000."""
        found: list[BrokerEvent] = []
        more, since = self._events(0, 0.0)
        while more:
            found += more
            more, since = self._events(since, 0.0)
        return found

    def published(self, topic: str) -> list[BrokerEvent]:
        """Return the messages that were published to a topic, the oldest first."""
        return self._of("published", topic)

    def delivered(self, subscription: str) -> list[BrokerEvent]:
        """Return the deliveries of a subscription, redeliveries too."""
        return self._of("delivered", subscription)

    def acknowledged(self, subscription: str) -> list[BrokerEvent]:
        """Return the messages that a subscription is done with."""
        return self._of("acknowledged", subscription)

    def wait_for(
        self, what: str, where: str, *, count: int = 1, timeout_s: float = 30.0
    ) -> list[BrokerEvent]:
        """Wait until something has happened so often; return those events.

        Args:
            what: as in `BrokerEvent`.
            where: topic or subscription.
            count: how often at least, since the broker started.
            timeout_s: how long to wait.

        Raises:
            NeverHappened: the time is over; says what happened instead.
        """
        found: list[BrokerEvent] = []
        seen: list[BrokerEvent] = []
        since, end_s = 0, time.monotonic() + timeout_s
        while len(found) < count:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise NeverHappened(
                    f"{where}: {count} x {what} expected, {len(found)} found in {timeout_s:g} s. "
                    f"All that happened: {_summary(seen)}"
                )
            events, since = self._events(since, min(left_s, _POLL_S))
            seen += events
            found += [event for event in events if event.what == what and _is(event.where, where)]
        return found

    # What shall go wrong

    def drop(self, subscription: str = "", **how_often: Any) -> None:
        """Lose messages on the way to a subscription: accepted, never delivered.

        Args:
            subscription: which, or all of a topic; empty: any. So in all the methods that follow.
            how_often: `times=2`: so often; `share=0.1, seed=1`: that share of them; nothing: always.
                So in all the methods that follow.
        """
        self._add("drop", subscription, how_often)

    def duplicate(self, subscription: str = "", **how_often: Any) -> None:
        """Deliver messages twice, with two ack ids."""
        self._add("duplicate", subscription, how_often)

    def delay(self, delay_s: float, subscription: str = "", **how_often: Any) -> None:
        """Deliver messages later."""
        self._add("delay", subscription, how_often, delay_s=delay_s)

    def reorder(self, subscription: str = "", **how_often: Any) -> None:
        """Let a message be overtaken by the next one of the subscription."""
        self._add("reorder", subscription, how_often)

    def refuse(self, method: str, code: str = "UNAVAILABLE", message: str = "", **how_often: Any) -> None:
        """Answer a method, e.g. `Publish` or `StreamingPull`, with a status."""
        self._add("refuse", method, how_often, code=code, message=message)

    def slow(self, method: str, delay_s: float, **how_often: Any) -> None:
        """Let a method take longer."""
        self._add("slow", method, how_often, delay_s=delay_s)

    def break_streams(self, subscription: str) -> int:
        """End the open streams of a subscription as UNAVAILABLE; return how many there were."""
        return int(self._call("BreakStreams", {"subscription": subscription})["broken"])

    def clear_faults(self) -> None:
        """Let nothing more go wrong."""
        self._call("ClearFaults", {})

    def advance(self, seconds: float) -> None:
        """Let time pass for the broker; return when all that became due is done."""
        self._call("Advance", {"seconds": seconds})

    def _of(self, what: str, where: str) -> list[BrokerEvent]:
        return [event for event in self.events() if event.what == what and _is(event.where, where)]

    def _add(self, kind: str, where: str, how_often: Mapping[str, Any], **fields: Any) -> None:
        self._call("AddFault", {"kind": kind, "where": where, **how_often, **fields})

    def _events(self, since: int, wait_s: float) -> tuple[list[BrokerEvent], int]:
        answer = self._call("Events", {"since": since, "wait_s": wait_s})
        events = answer.get("events", [])
        return [_event(each) for each in events], int(events[-1]["number"]) + 1 if events else since

    def _call(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        request = Struct()
        request.update(fields)
        call: Callable[..., Struct] = self._channel.unary_unary(
            f"/{TESTING_SERVICE}/{method}",
            request_serializer=Struct.SerializeToString,
            response_deserializer=Struct.FromString,
        )
        answer: dict[str, Any] = MessageToDict(call(request))
        return answer


def _event(fields: Mapping[str, Any]) -> BrokerEvent:
    message = fields.get("message") or {}
    return BrokerEvent(
        at=datetime.fromisoformat(fields["at"]),
        what=fields["what"],
        where=fields["where"],
        message_id=fields["message_id"],
        attempt=int(fields["attempt"]),
        data=base64.b64decode(message.get("data", "")),
        attributes=message.get("attributes", {}),
        ordering_key=message.get("orderingKey", ""),
    )


def _is(full: str, name: str) -> bool:
    return full == name or full.rpartition("/")[2] == name


def _summary(events: list[BrokerEvent]) -> str:
    latest = [f"{event.what} {event.message_id} {event.where.rpartition('/')[2]}" for event in events[-20:]]
    return "; ".join(latest) or "nothing"
