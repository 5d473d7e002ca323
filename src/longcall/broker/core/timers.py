"""When the broker next has to look at which subscription: an alarm for the earliest timer of each."""

from __future__ import annotations

import heapq
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
        """Watch nobody any more."""
        self._alarms.clear()

    def next_s(self) -> float | None:
        """Return when `due` next has something; None: nothing is watched."""
        return self._alarms[0][0] if self._alarms else None

    def due(self, now_s: float) -> Iterator[ActiveSubscription]:
        """Yield the subscriptions whose alarm has come; each must be watched again."""
        while self._alarms and self._alarms[0][0] <= now_s:
            at_s, _, subscription = heapq.heappop(self._alarms)
            if not subscription.is_deleted and subscription.alarm_s == at_s:
                subscription.alarm_s = None
                yield subscription
