"""When the broker next has to look at which subscription, or to call whom."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

from longcall.broker.core.subscription import ActiveSubscription

__all__ = ["Timers"]


class Timers:
    """Alarms by time, on the monotonic clock.

    Attributes:
        on_alarm: called when the next alarm is earlier than before.
    """

    def __init__(self) -> None:
        self.on_alarm: Callable[[], object] = lambda: None
        self._alarms: list[tuple[float, int, ActiveSubscription]] = []
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def call_at(self, at_s: float, action: Callable[[], object]) -> None:
        """Have `action` called once, not before `at_s`."""
        call = (at_s, next(self._numbers), action)
        heapq.heappush(self._calls, call)
        if self._calls[0] is call:
            self.on_alarm()

    def watch(self, subscription: ActiveSubscription) -> None:
        """See to it that the next timer of the subscription's queue is not missed."""
        at_s = subscription.queue.next_expiry_s()
        if at_s is None or (subscription.alarm_s is not None and subscription.alarm_s <= at_s):
            return
        subscription.alarm_s = at_s
        alarm = (at_s, subscription.number, subscription)
        heapq.heappush(self._alarms, alarm)
        if self._alarms[0] is alarm:
            self.on_alarm()

    def clear(self) -> None:
        """Watch and call nobody any more."""
        self._alarms.clear()
        self._calls.clear()

    def next_s(self) -> float | None:
        """Return when `due` or `due_calls` next has something; None: nothing is watched."""
        return min((each[0][0] for each in (self._alarms, self._calls) if each), default=None)

    def due_calls(self, now_s: float) -> Iterator[Callable[[], object]]:
        """Yield the actions whose time has come."""
        while self._calls and self._calls[0][0] <= now_s:
            yield heapq.heappop(self._calls)[2]

    def due(self, now_s: float) -> Iterator[ActiveSubscription]:
        """Yield the subscriptions whose alarm has come; each must be watched again."""
        while self._alarms and self._alarms[0][0] <= now_s:
            at_s, _, subscription = heapq.heappop(self._alarms)
            if not subscription.is_deleted and subscription.alarm_s == at_s:
                subscription.alarm_s = None
                yield subscription
