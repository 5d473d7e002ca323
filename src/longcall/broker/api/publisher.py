"""`google.pubsub.v1.Publisher`: topics, and what is published to them."""

from __future__ import annotations

import logging

from longcall.broker.api.methods import Context, Methods, name_of
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.protos import (
    ListOfTopicRequest,
    ListRequest,
    OfSubscription,
    OfTopic,
    ProtoMessage,
    PublishRequest,
    Topic,
    UpdateTopicRequest,
)
from longcall.broker.rules.names import check_name, check_project
from longcall.broker.rules.paging import page_of
from longcall.broker.wire import Empty, Wire

__all__ = ["PublisherApi"]

log = logging.getLogger(__name__)


class PublisherApi:
    """`google.pubsub.v1.Publisher`."""

    def __init__(self, core: BrokerCore) -> None:
        self._core = core

    def methods(self) -> Methods:
        """Return the methods by name, with the class of their request."""
        return {
            "CreateTopic": (self._create, Wire.Topic),
            "GetTopic": (self._get, Wire.GetTopicRequest),
            "UpdateTopic": (self._update, Wire.UpdateTopicRequest),
            "ListTopics": (self._list, Wire.ListTopicsRequest),
            "ListTopicSubscriptions": (self._list_subscriptions, Wire.ListTopicSubscriptionsRequest),
            "ListTopicSnapshots": (self._list_snapshots, Wire.ListTopicSnapshotsRequest),
            "DetachSubscription": (self._detach, Wire.DetachSubscriptionRequest),
            "DeleteTopic": (self._delete, Wire.DeleteTopicRequest),
            "Publish": (self._publish, Wire.PublishRequest),
        }

    async def _create(self, request: Topic, _: Context) -> Topic:
        created = await self._core.topics.create(request)
        log.info("Created topic %s", request.name)
        return created

    async def _get(self, request: OfTopic, _: Context) -> Topic:
        return self._core.topics.get(check_name(request.topic, "topics"))

    async def _update(self, request: UpdateTopicRequest, _: Context) -> Topic:
        check_name(request.topic.name, "topics")
        return await self._core.topics.update(request.topic, request.update_mask.paths)

    async def _list(self, request: ListRequest, _: Context) -> ProtoMessage:
        page, token = page_of(self._core.topics.list(check_project(request.project)), request, name=name_of)
        return Wire.ListTopicsResponse(topics=page, next_page_token=token)

    async def _list_subscriptions(self, request: ListOfTopicRequest, _: Context) -> ProtoMessage:
        page, token = page_of(
            self._core.topics.subscription_names(check_name(request.topic, "topics")), request, name=str
        )
        return Wire.ListTopicSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def _list_snapshots(self, request: ListOfTopicRequest, _: Context) -> ProtoMessage:
        page, token = page_of(
            self._core.topics.snapshot_names(check_name(request.topic, "topics")), request, name=str
        )
        return Wire.ListTopicSnapshotsResponse(snapshots=page, next_page_token=token)

    async def _detach(self, request: OfSubscription, _: Context) -> ProtoMessage:
        await self._core.subscriptions.detach(check_name(request.subscription, "subscriptions"))
        log.info("Detached subscription %s", request.subscription)
        return Wire.DetachSubscriptionResponse()

    async def _delete(self, request: OfTopic, _: Context) -> ProtoMessage:
        await self._core.topics.delete(check_name(request.topic, "topics"))
        log.info("Deleted topic %s", request.topic)
        return Empty()

    async def _publish(self, request: PublishRequest, _: Context) -> ProtoMessage:
        check_name(request.topic, "topics")
        ids = await self._core.traffic.publish(
            request.topic, request.messages, request_bytes=request.ByteSize()
        )
        return Wire.PublishResponse(message_ids=ids)
