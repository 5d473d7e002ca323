"""`google.pubsub.v1.Subscriber`: subscriptions, and the messages in them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc

from longcall._core.clock import Clock
from longcall.broker.api.methods import Context, Methods, name_of
from longcall.broker.api.streaming import (
    MAX_RESPONSE_BYTES,
    StreamingPull,
    check_lease_s,
    received_messages,
)
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.delivery import Consumer
from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.names import check_name, check_project
from longcall.broker.rules.paging import page_of
from longcall.broker.wire import Empty, Wire

__all__ = ["SubscriberApi"]

log = logging.getLogger(__name__)

_PULL_WAIT_S: Final = 60.0
_DEADLINE_MARGIN_S: Final = 0.05


class SubscriberApi:
    """`google.pubsub.v1.Subscriber`."""

    def __init__(self, core: BrokerCore, clock: Clock) -> None:
        self._core = core
        self._clock = clock

    def methods(self) -> Methods:
        """Return the methods by name, with the class of their request."""
        return {
            "CreateSubscription": (self._create, Wire.Subscription),
            "GetSubscription": (self._get, Wire.GetSubscriptionRequest),
            "UpdateSubscription": (self._update, Wire.UpdateSubscriptionRequest),
            "ListSubscriptions": (self._list, Wire.ListSubscriptionsRequest),
            "DeleteSubscription": (self._delete, Wire.DeleteSubscriptionRequest),
            "Pull": (self._pull, Wire.PullRequest),
            "Acknowledge": (self._acknowledge, Wire.AcknowledgeRequest),
            "ModifyAckDeadline": (self._modify, Wire.ModifyAckDeadlineRequest),
        }

    async def streaming_pull(self, requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Serve a stream."""
        await StreamingPull(self._core, self._clock).run(requests, context)

    async def _create(self, request: Any, _: Context) -> Any:
        created = await self._core.create_subscription(request)
        log.info("Created subscription %s on %s, filter %r", created.name, created.topic, created.filter)
        return created

    async def _get(self, request: Any, _: Context) -> Any:
        return self._core.subscription(check_name(request.subscription, "subscriptions")).body

    async def _update(self, request: Any, _: Context) -> Any:
        check_name(request.subscription.name, "subscriptions")
        return await self._core.update_subscription(request.subscription, request.update_mask.paths)

    async def _list(self, request: Any, _: Context) -> Any:
        page, token = page_of(
            self._core.subscriptions(check_project(request.project)),
            name=name_of,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return Wire.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def _delete(self, request: Any, _: Context) -> Any:
        await self._core.delete_subscription(check_name(request.subscription, "subscriptions"))
        log.info("Deleted subscription %s", request.subscription)
        return Empty()

    async def _pull(self, request: Any, context: Context) -> Any:
        if request.max_messages <= 0:
            raise InvalidArgument(
                "You have passed an invalid argument to the service (argument=max_messages)."
            )
        subscription = self._core.subscription(check_name(request.subscription, "subscriptions"))
        left_s: float | None = context.time_remaining()
        wait_s = _PULL_WAIT_S if left_s is None else min(_PULL_WAIT_S, left_s - _DEADLINE_MARGIN_S)
        end_s = self._clock.monotonic_s() + wait_s
        consumer = Consumer()
        while True:
            leases = subscription.take(
                consumer,
                now_s=self._clock.monotonic_s(),
                lease_s=float(subscription.body.ack_deadline_seconds),
                max_messages=request.max_messages,
                max_bytes=MAX_RESPONSE_BYTES,
            )
            wait_s = end_s - self._clock.monotonic_s()
            if leases or request.return_immediately or wait_s <= 0:
                break
            try:
                async with asyncio.timeout(wait_s):
                    await subscription.wait(consumer)
            except TimeoutError:
                break
        self._core.watch(subscription)
        return Wire.PullResponse(received_messages=received_messages(self._core, subscription, leases))

    async def _acknowledge(self, request: Any, _: Context) -> Any:
        subscription = self._core.subscription(check_name(request.subscription, "subscriptions"))
        await self._core.acknowledge(subscription, request.ack_ids)
        return Empty()

    async def _modify(self, request: Any, _: Context) -> Any:
        subscription = self._core.subscription(check_name(request.subscription, "subscriptions"))
        lease_s = check_lease_s(request.ack_deadline_seconds)
        self._core.extend(subscription, request.ack_ids, lease_s=lease_s)
        return Empty()
