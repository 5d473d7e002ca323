"""`longcall.broker.v1.Testing`: what a test may look at and disturb. Served only if it is asked for.

Requests and responses are `google.protobuf.Struct`, so that any language can use it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from longcall._core.clock import ShiftedClock
from longcall.broker.api.methods import Context, Method, Methods
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.journal import Event, Journal
from longcall.broker.errors import InvalidArgument, Unavailable
from longcall.broker.rules.faults import Fault, Faults, Refused, is_named

__all__ = ["TESTING_SERVICE", "TestingApi", "disturb", "with_faults"]

TESTING_SERVICE: Final = "longcall.broker.v1.Testing"
_MAX_WAIT_S: Final = 60.0
_MAX_EVENTS: Final = 1000
_MAX_EVENTS_BYTES: Final = 2_000_000  # in base64 and with their frame they are more; clients accept 4 MiB


class TestingApi:
    """The methods of the service.

    Args:
        core: what is looked at.
        journal: what has happened.
        clock: the broker's.
    """

    def __init__(self, core: BrokerCore, journal: Journal, clock: ShiftedClock) -> None:
        self._core = core
        self._journal = journal
        self._faults = core.state.faults
        self._clock = clock

    def methods(self) -> Methods:
        """Return the methods by name, with the class of their request."""
        return {
            "Events": (self._events, Struct),
            "AddFault": (self._add_fault, Struct),
            "ClearFaults": (self._clear_faults, Struct),
            "BreakStreams": (self._break_streams, Struct),
            "Advance": (self._advance, Struct),
        }

    async def _events(self, request: Struct, _: Context) -> Struct:
        """`{since, wait_s}` -> `{events: [{number, at, what, where, message_id, attempt, message}, …]}`.

        A thousand at most, and a few of large messages: ask again, since the last number and one. None:
        there are no more yet.
        """
        asked = MessageToDict(request)
        wait_s = min(float(asked.get("wait_s", 0)), _MAX_WAIT_S)
        events = await self._journal.wait(int(asked.get("since", 0)), wait_s, at_most=_MAX_EVENTS)
        answer = Struct()
        answer.update({"events": [_shown(event) for event in _first_of(events)]})
        return answer

    async def _add_fault(self, request: Struct, _: Context) -> Struct:
        """The fields of `Fault` -> `{}`."""
        self._faults.add(Fault.of(MessageToDict(request)))
        return Struct()

    async def _clear_faults(self, _request: Struct, _: Context) -> Struct:
        """`{}` -> `{}`."""
        self._faults.clear()
        return Struct()

    async def _break_streams(self, request: Struct, _: Context) -> Struct:
        """`{subscription}` -> `{broken}`: how many streams were open. Its full name, or the last part.

        Raises:
            NotFound: there is no such subscription.
        """
        name = str(MessageToDict(request).get("subscription", ""))
        subscriptions = self._core.state.subscriptions
        named = [each for full, each in subscriptions.items() if is_named(full, name)]
        broken = 0
        for subscription in named or [self._core.state.subscription(name)]:
            broken += subscription.streams
            subscription.interrupt(Unavailable("A test has broken this stream."))
        answer = Struct()
        answer.update({"broken": broken})
        return answer

    async def _advance(self, request: Struct, _: Context) -> Struct:
        """`{seconds}` -> `{}`, when all that became due is done."""
        seconds = float(MessageToDict(request).get("seconds", 0))
        if seconds < 0:
            raise InvalidArgument("seconds: time does not go back")
        self._clock.advance(seconds)
        self._core.sweeper.end_leases()
        await self._core.sweeper.sweep()
        self._core.timers.on_alarm()  # what was far away is near now
        return Struct()


def _first_of(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events, one at least, until their messages are too large for one answer."""
    left_bytes = _MAX_EVENTS_BYTES
    for event in events:
        yield event
        left_bytes -= event.message.ByteSize() if event.message is not None else 0
        if left_bytes < 0:
            return


def _shown(event: Event) -> dict[str, Any]:
    shown = {**event._asdict(), "at": event.at.isoformat()}
    shown["message"] = MessageToDict(cast(Message, event.message)) if event.message is not None else None
    return shown


def with_faults(methods: Methods, faults: Faults) -> Methods:
    """Return methods that are refused, slow or deadly when a rule says so."""
    return {name: (_faulty(name, method, faults), kind) for name, (method, kind) in methods.items()}


async def disturb(method: str, faults: Faults) -> None:
    """Do what rules want done before a method, e.g. `StreamingPull`; return if it is to go on.

    Raises:
        Refused: a rule says so.
    """
    slow = faults.striking(["slow"], method)
    if slow is not None:
        await asyncio.sleep(slow.delay_s)
    refuse = faults.striking(["refuse"], method)
    if refuse is not None:
        raise Refused(refuse.code, refuse.message)
    if faults.striking(["crash_before"], method) is not None:
        os.kill(os.getpid(), signal.SIGKILL)


def _faulty(name: str, method: Method, faults: Faults) -> Method:
    async def answer(request: Any, context: Context) -> Any:
        await disturb(name, faults)
        response = await method(request, context)
        if faults.striking(["crash_after"], name) is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return response

    return answer
