"""When the service is asked how a call stands, on a loop whose time passes at once."""

from __future__ import annotations

import asyncio
import selectors
from contextlib import aclosing, suppress
from itertools import pairwise

from longcall.client import CallSilent, CallTimeout, CallWatch, Patience, Router
from longcall.contract import CallState, CallStatus
from longcall.transport import InboxSpec, TransportUnavailable
from longcall.transport.memory import MemoryBackend, MemoryTransport

INBOX = "projects/p/subscriptions/reports"
TOPIC = "projects/p/topics/reports"
LONG_S = 300.0
DAY_S = 86_400.0


class NoWaiting(selectors.DefaultSelector):
    """Where others wait for the next timer, this one says that it is that late already."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += timeout or 0.0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop without files or threads, whose time passes at once."""

    def __init__(self) -> None:
        self._clock = NoWaiting()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


RUNNING = CallStatus(correlation_id="call", state=CallState.RUNNING, attempt=1)


def asked_at(patience: Patience, *answers: CallStatus | TransportUnavailable) -> list[float]:
    """Watch a call without reports until it is given up; return when its service was asked, in seconds.

    The last answer is given again and again.
    """
    times: list[float] = []

    async def ask() -> CallStatus:
        times.append(asyncio.get_running_loop().time())
        answer = answers[min(len(times), len(answers)) - 1]
        if isinstance(answer, TransportUnavailable):
            raise answer
        return answer

    async def watch() -> None:
        backend = MemoryBackend()
        transport = MemoryTransport(backend)
        await transport.create_topic(TOPIC)
        await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
        async with aclosing(Router(transport)) as router, router.subscribe("call", inbox=INBOX) as arrivals:
            await CallWatch(arrivals, correlation_id="call", ask=ask, patience=patience).next()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner, suppress(CallTimeout, CallSilent):
        runner.run(watch())
    return times


def pauses(times: list[float]) -> list[float]:
    """Return the seconds between one time and the next, to the microsecond: sums of floats are not exact."""
    return [round(later - earlier, 6) for earlier, later in pairwise(times)]


def test_service_is_asked_soon_after_a_wait_begins_and_then_rarely() -> None:
    first, *others = asked_at(Patience(ask_after_s=LONG_S, timeout_s=10 * LONG_S), RUNNING)

    assert 2 <= first <= 10
    assert all(0.75 * LONG_S <= pause <= 1.25 * LONG_S for pause in pauses([first, *others])[:-1])


def test_service_that_does_not_answer_is_asked_again_soon_and_then_ever_more_rarely() -> None:
    down = TransportUnavailable("down")

    times = asked_at(Patience(ask_after_s=LONG_S, timeout_s=DAY_S), down)

    assert all(pause <= 10 * 2**n for n, pause in enumerate(pauses(times)[:5], start=1))
    assert min(pauses(times)[10:-1]) >= 0.75 * LONG_S


def test_after_an_answer_the_next_failure_is_again_the_first() -> None:
    down = TransportUnavailable("down")

    times = asked_at(
        Patience(ask_after_s=LONG_S, timeout_s=DAY_S), down, down, down, down, RUNNING, down, RUNNING
    )

    assert pauses(times)[5] <= 20


def test_call_is_never_asked_after_more_rarely_than_twice_within_its_silence() -> None:
    times = asked_at(Patience(ask_after_s=LONG_S, silence_s=60, timeout_s=DAY_S), RUNNING)

    assert times[-1] <= 60 + 30
    assert all(pause <= 30 for pause in pauses(times))
