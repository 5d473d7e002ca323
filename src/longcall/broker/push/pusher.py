"""One push subscription at work: takes messages, sends them, and acts on the answers.

A lease is the time limit of its request. When the lease ends, however it does, the
request is cancelled; when the request ends, the message is acknowledged or given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from longcall._core.clock import Clock
from longcall._core.errors import LongcallError
from longcall.broker.core.ack_ids import AckId, encode_ack_id
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.errors import BrokerError, StoreError
from longcall.broker.push.flow import PushFlow
from longcall.broker.push.request import PushRequest, push_request

__all__ = ["Post", "Pusher", "Spawn"]

log = logging.getLogger(__name__)

_ACKS: Final = frozenset((102, 200, 201, 202, 204))
_NO_LIMIT: Final = 1 << 62

Spawn: TypeAlias = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


class Post(Protocol):
    """Sends a request to a URL and returns the status of the answer, or raises a `LongcallError`."""

    async def __call__(self, url: str, request: PushRequest) -> int:
        """Send."""
        ...


class Pusher:
    """Pushes for one subscription, from `start` on, until `stop` or the subscription's end.

    Args:
        post: how to send.
        spawn: makes a task, and sees to it that it ends with the broker.
        share: how many requests it may have under way at once, beside the others.
    """

    def __init__(
        self,
        core: BrokerCore,
        clock: Clock,
        subscription: ActiveSubscription,
        *,
        post: Post,
        spawn: Spawn,
        share: Callable[[], int],
    ) -> None:
        self._core = core
        self._clock = clock
        self._subscription = subscription
        self._post = post
        self._spawn = spawn
        self._share = share
        self._flow = PushFlow()
        self._consumer = Consumer(pushes=True, on_release=self._lease_ended)
        self._requests: dict[int, tuple[asyncio.Task[None], PushFlow, int]] = {}  # by serial of the lease
        self._paused_until_s: float | None = None
        self._is_failing = False
        self._endpoint = ""
        self._said_no_token = False
        self._taking: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._requests)

    def start(self) -> asyncio.Task[None]:
        """Push from now on; the task ends when no more messages are taken."""
        self.take_on_change()
        self._taking = self._spawn(self._take())
        return self._taking

    def take_on_change(self) -> None:
        """Go on with the subscription's present configuration; another endpoint is given a fresh start."""
        config = self._subscription.body.push_config
        if config.push_endpoint != self._endpoint:
            self._endpoint = config.push_endpoint
            self._flow = PushFlow()
            self._is_failing = False
            self._paused_until_s = None
            self._set_room()
            self._subscription.notify()
        if config.HasField("oidc_token") and not self._said_no_token:
            self._said_no_token = True
            log.warning(
                "Push subscription %s asks for an OIDC token: none is sent, nobody could verify it",
                self._subscription.name,
            )

    def stop(self) -> None:
        """Take nothing more. What is under way ends by itself."""
        if self._taking is not None:
            self._taking.cancel()

    async def _take(self) -> None:
        """Send what is ready as far as there is room.

        One by one: with ordering, there is then at most one of each key under way.
        """
        subscription, consumer = self._subscription, self._consumer
        try:
            while True:
                self._set_room()
                leases = subscription.take(
                    consumer,
                    now_s=self._clock.monotonic_s(),
                    lease_s=float(subscription.body.ack_deadline_seconds),
                    max_messages=1,
                    max_bytes=_NO_LIMIT,
                )
                if not leases:
                    await subscription.wait(consumer)
                    continue
                self._core.timers.watch(subscription)
                for lease in leases:
                    self._core.state.observer.note(
                        "delivered", subscription.name, lease.message_id, attempt=lease.attempt
                    )
                    sending = self._spawn(self._send(lease))
                    self._requests[lease.serial] = (sending, self._flow, self._flow.round)
        except BrokerError:  # it has ended
            if not self._is_current:
                self._abandon()

    @property
    def _is_current(self) -> bool:
        """Whether the broker still has this subscription: not if it has started again from its store."""
        return self._core.state.subscriptions.get(self._subscription.name) is self._subscription

    def _abandon(self) -> None:
        for sending, _, _ in self._requests.values():
            sending.cancel()

    async def _send(self, lease: Lease) -> None:
        subscription = self._subscription
        body = subscription.body
        counts = subscription.queue.rules.max_attempts is not None
        message = self._core.traffic.message(lease.message_id).body
        request = push_request(body, message, attempt=lease.attempt if counts else None)
        try:
            status = await self._post(body.push_config.push_endpoint, request)
        except LongcallError as error:
            problem = str(error)
        else:
            problem = "" if status in _ACKS else f"status {status}"
        sent = self._requests.pop(lease.serial, None)
        if sent is None or not self._is_current:
            return
        ack_id = encode_ack_id(AckId(subscription.number, lease.message_id, lease.serial))
        if problem:
            self._fail(sent[1], sent[2], problem)
            self._core.traffic.extend(subscription, [ack_id], lease_s=0)
        else:
            self._succeed(sent[1], sent[2])
            with suppress(StoreError):  # the broker starts again then, and pushes again
                await self._core.traffic.acknowledge(subscription, [ack_id])

    def _lease_ended(self, lease: Lease) -> None:
        sent = self._requests.pop(lease.serial, None)
        if sent is None:  # its request has ended it
            return
        sending, flow, round_ = sent
        sending.cancel()
        if lease.until_s <= self._clock.monotonic_s():
            self._fail(flow, round_, "no answer within the ack deadline")

    def _succeed(self, flow: PushFlow, round_: int) -> None:
        self._subscription.active_s = self._core.state.now_s()
        flow.succeed(round_)
        if self._is_failing and flow is self._flow and not flow.failures:
            self._is_failing = False
            log.info("Push subscription %s: the endpoint acknowledges again", self._subscription.name)
        self._set_room()

    def _fail(self, flow: PushFlow, round_: int, problem: str) -> None:
        pause_s = flow.fail(round_)
        if flow is not self._flow:  # of an endpoint of before
            return
        if not self._is_failing:
            self._is_failing = True
            log.warning(
                "Push subscription %s: %s: %s; it is tried again",
                self._subscription.name,
                _without_secrets(self._endpoint),
                problem,
            )
        # With a retry policy, it is the message that waits.
        if pause_s is not None and not self._subscription.body.HasField("retry_policy"):
            self._paused_until_s = self._clock.monotonic_s() + pause_s
            self._core.timers.call_at(self._paused_until_s, self._resume)
        self._set_room()

    def _resume(self) -> None:
        if self._paused_until_s is not None and self._paused_until_s <= self._clock.monotonic_s():
            self._paused_until_s = None
            self._set_room()
            self._subscription.notify()

    def _set_room(self) -> None:
        is_paused = self._paused_until_s is not None
        self._consumer.max_messages = 0 if is_paused else min(self._flow.window, self._share())


def _without_secrets(url: str) -> str:
    """Return a URL as it may be logged: a login or a query can be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
