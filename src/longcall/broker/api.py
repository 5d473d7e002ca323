"""The gRPC methods: what a request asks of the core, and how its answer or refusal goes back.

Rests on `google/pubsub/v1/pubsub.proto`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import grpc

from longcall._core.clock import Clock
from longcall._core.errors import LongcallError
from longcall.broker.core import BrokerCore
from longcall.broker.delivery import Consumer
from longcall.broker.errors import BrokerError, InvalidArgument
from longcall.broker.names import check_name, check_project
from longcall.broker.paging import page_of
from longcall.broker.streaming import MAX_RESPONSE_BYTES, StreamingPull, check_lease_s, received_messages
from longcall.broker.wire import Empty, Wire

__all__ = ["generic_handlers"]

log = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Method: TypeAlias = Callable[[Any, Context], Awaitable[Any]]

_GOOGLE_SERVICES: Final = (
    "google.iam.v1.IAMPolicy",
    "google.pubsub.v1.Publisher",
    "google.pubsub.v1.SchemaService",
    "google.pubsub.v1.Subscriber",
)
_PULL_WAIT_S: Final = 60.0
_DEADLINE_MARGIN_S: Final = 0.05


class PublisherApi:
    """`google.pubsub.v1.Publisher`."""

    def __init__(self, core: BrokerCore) -> None:
        self._core = core

    def methods(self) -> dict[str, tuple[Method, Any]]:
        """Return the methods by name, with the class of their request."""
        return {
            "CreateTopic": (self._create, Wire.Topic),
            "GetTopic": (self._get, Wire.GetTopicRequest),
            "UpdateTopic": (self._update, Wire.UpdateTopicRequest),
            "ListTopics": (self._list, Wire.ListTopicsRequest),
            "ListTopicSubscriptions": (self._list_subscriptions, Wire.ListTopicSubscriptionsRequest),
            "DeleteTopic": (self._delete, Wire.DeleteTopicRequest),
            "Publish": (self._publish, Wire.PublishRequest),
        }

    async def _create(self, request: Any, _: Context) -> Any:
        created = await self._core.create_topic(request)
        log.info("Created topic %s", request.name)
        return created

    async def _get(self, request: Any, _: Context) -> Any:
        return self._core.topic(check_name(request.topic, "topics"))

    async def _update(self, request: Any, _: Context) -> Any:
        check_name(request.topic.name, "topics")
        return await self._core.update_topic(request.topic, request.update_mask.paths)

    async def _list(self, request: Any, _: Context) -> Any:
        page, token = page_of(
            self._core.topics(check_project(request.project)),
            name=_name,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return Wire.ListTopicsResponse(topics=page, next_page_token=token)

    async def _list_subscriptions(self, request: Any, _: Context) -> Any:
        page, token = page_of(
            self._core.topic_subscriptions(check_name(request.topic, "topics")),
            name=str,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return Wire.ListTopicSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def _delete(self, request: Any, _: Context) -> Any:
        await self._core.delete_topic(check_name(request.topic, "topics"))
        log.info("Deleted topic %s", request.topic)
        return Empty()

    async def _publish(self, request: Any, _: Context) -> Any:
        check_name(request.topic, "topics")
        ids = await self._core.publish(request.topic, request.messages, request_bytes=request.ByteSize())
        return Wire.PublishResponse(message_ids=ids)


class SubscriberApi:
    """`google.pubsub.v1.Subscriber`."""

    def __init__(self, core: BrokerCore, clock: Clock) -> None:
        self._core = core
        self._clock = clock

    def methods(self) -> dict[str, tuple[Method, Any]]:
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

    async def streaming_pull(self, requests: Any, context: Context) -> None:
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
            name=_name,
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


def generic_handlers(core: BrokerCore, clock: Clock) -> list[grpc.GenericRpcHandler]:
    """Return the handlers of both services, for a `grpc.aio` server."""
    subscriber = SubscriberApi(core, clock)
    subscriber_handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: _unary(method, kind) for name, (method, kind) in subscriber.methods().items()
    }
    subscriber_handlers["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
        _refusing(subscriber.streaming_pull),
        request_deserializer=Wire.StreamingPullRequest.FromString,
        response_serializer=Wire.StreamingPullResponse.SerializeToString,
    )
    publisher = {name: _unary(method, kind) for name, (method, kind) in PublisherApi(core).methods().items()}
    return [
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber_handlers),
        _NotYet(),
    ]


class _NotYet(grpc.GenericRpcHandler):
    """Answers the methods of Google Pub/Sub that the broker does not have. All of them are unary."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return a handler that refuses; None for what is no method of Google Pub/Sub."""
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        if service not in _GOOGLE_SERVICES:
            return None

        async def refuse(_: Any, context: Context) -> None:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{service}.{method} is not available in this broker; on Google Pub/Sub it may be.",
            )

        return grpc.unary_unary_rpc_method_handler(refuse)


def _unary(method: Method, kind: Any) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        _refusing(method),
        request_deserializer=kind.FromString,
        response_serializer=_serialize,
    )


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _refusing(method: Method) -> Method:
    """Turn errors into the status that the client sees."""

    async def answer(request: Any, context: Context) -> Any:
        try:
            return await method(request, context)
        except BrokerError as error:
            await context.abort(grpc.StatusCode[error.code], str(error))
        except LongcallError as error:
            log.error("A request failed: %s", error)
            await context.abort(grpc.StatusCode.INTERNAL, str(error))

    return answer


def _name(resource: Any) -> str:
    return str(resource.name)
