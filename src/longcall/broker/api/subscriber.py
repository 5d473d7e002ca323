"""`google.pubsub.v1.Subscriber`: subscriptions, and the messages in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from longcall._core.clock import Clock
from longcall.broker.api.methods import Call, Context, Methods, name_of
from longcall.broker.api.streaming import (
    MAX_RESPONSE_BYTES,
    StreamingPull,
    check_lease_s,
    received_messages,
)
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.leases import Consumer
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.errors import InvalidAckIds, InvalidArgument
from longcall.broker.protos import (
    AcknowledgeRequest,
    CreateSnapshotRequest,
    ListRequest,
    ModifyAckDeadlineRequest,
    ModifyPushConfigRequest,
    OfSnapshot,
    OfSubscription,
    ProtoMessage,
    PullRequest,
    SeekRequest,
    Snapshot,
    StreamingPullRequest,
    Subscription,
    UpdateSnapshotRequest,
    UpdateSubscriptionRequest,
)
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
            "ModifyPushConfig": (self._modify_push, Wire.ModifyPushConfigRequest),
            "CreateSnapshot": (self._create_snapshot, Wire.CreateSnapshotRequest),
            "GetSnapshot": (self._get_snapshot, Wire.GetSnapshotRequest),
            "UpdateSnapshot": (self._update_snapshot, Wire.UpdateSnapshotRequest),
            "ListSnapshots": (self._list_snapshots, Wire.ListSnapshotsRequest),
            "DeleteSnapshot": (self._delete_snapshot, Wire.DeleteSnapshotRequest),
            "Seek": (self._seek, Wire.SeekRequest),
            "Pull": (self._pull, Wire.PullRequest),
            "Acknowledge": (self._acknowledge, Wire.AcknowledgeRequest),
            "ModifyAckDeadline": (self._modify, Wire.ModifyAckDeadlineRequest),
        }

    async def streaming_pull(self, requests: AsyncIterator[StreamingPullRequest], call: Call) -> None:
        """Serve a stream."""
        await StreamingPull(self._core, self._clock).run(requests, call)

    async def _create(self, request: Subscription, _: Context) -> Subscription:
        created = await self._core.subscriptions.create(request)
        log.info("Created subscription %s on %s, filter %r", created.name, created.topic, created.filter)
        return created

    async def _get(self, request: OfSubscription, _: Context) -> Subscription:
        return self._subscription(request).body

    async def _update(self, request: UpdateSubscriptionRequest, _: Context) -> Subscription:
        check_name(request.subscription.name, "subscriptions")
        return await self._core.subscriptions.update(request.subscription, request.update_mask.paths)

    async def _list(self, request: ListRequest, _: Context) -> ProtoMessage:
        page, token = page_of(
            self._core.subscriptions.list(check_project(request.project)), request, name=name_of
        )
        return Wire.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def _delete(self, request: OfSubscription, _: Context) -> ProtoMessage:
        await self._core.subscriptions.delete(check_name(request.subscription, "subscriptions"))
        log.info("Deleted subscription %s", request.subscription)
        return Empty()

    async def _modify_push(self, request: ModifyPushConfigRequest, _: Context) -> ProtoMessage:
        name = check_name(request.subscription, "subscriptions")
        update = Wire.Subscription(name=name, push_config=request.push_config)
        await self._core.subscriptions.update(update, ["push_config"])
        return Empty()

    async def _pull(self, request: PullRequest, context: Context) -> ProtoMessage:
        if request.max_messages <= 0:
            raise InvalidArgument(
                "You have passed an invalid argument to the service (argument=max_messages)."
            )
        subscription = self._subscription(request)
        subscription.check_pullable()
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
        self._core.timers.watch(subscription)
        return Wire.PullResponse(received_messages=received_messages(self._core, subscription, leases))

    async def _acknowledge(self, request: AcknowledgeRequest, _: Context) -> ProtoMessage:
        invalid = await self._core.traffic.acknowledge(self._subscription(request), request.ack_ids)
        if invalid:
            raise InvalidAckIds(invalid)
        return Empty()

    async def _modify(self, request: ModifyAckDeadlineRequest, _: Context) -> ProtoMessage:
        subscription = self._subscription(request)
        lease_s = check_lease_s(request.ack_deadline_seconds)
        invalid = self._core.traffic.extend(subscription, request.ack_ids, lease_s=lease_s)
        if invalid:
            raise InvalidAckIds(invalid)
        return Empty()

    async def _create_snapshot(self, request: CreateSnapshotRequest, _: Context) -> Snapshot:
        check_name(request.subscription, "subscriptions")
        created = await self._core.snapshots.create(request)
        log.info("Created snapshot %s of %s", created.name, request.subscription)
        return created

    async def _get_snapshot(self, request: OfSnapshot, _: Context) -> Snapshot:
        return self._core.state.snapshot(check_name(request.snapshot, "snapshots")).body

    async def _update_snapshot(self, request: UpdateSnapshotRequest, _: Context) -> Snapshot:
        check_name(request.snapshot.name, "snapshots")
        return await self._core.snapshots.update(request.snapshot, request.update_mask.paths)

    async def _list_snapshots(self, request: ListRequest, _: Context) -> ProtoMessage:
        page, token = page_of(
            self._core.snapshots.list(check_project(request.project)), request, name=name_of
        )
        return Wire.ListSnapshotsResponse(snapshots=page, next_page_token=token)

    async def _delete_snapshot(self, request: OfSnapshot, _: Context) -> ProtoMessage:
        await self._core.snapshots.delete(check_name(request.snapshot, "snapshots"))
        log.info("Deleted snapshot %s", request.snapshot)
        return Empty()

    async def _seek(self, request: SeekRequest, _: Context) -> ProtoMessage:
        subscription = self._subscription(request)
        match request.WhichOneof("target"):
            case "snapshot":
                name = check_name(request.snapshot, "snapshots")
                await self._core.snapshots.seek_to_snapshot(subscription, name)
            case "time":
                time_s = request.time.ToNanoseconds() / 1e9
                await self._core.snapshots.seek_to_time(subscription, time_s)
            case _:
                raise InvalidArgument("You have not specified a target to seek to: a time or a snapshot.")
        log.info("Subscription %s: seek", subscription.name)
        return Wire.SeekResponse()

    def _subscription(self, request: OfSubscription) -> ActiveSubscription:
        return self._core.state.subscription(check_name(request.subscription, "subscriptions"))
