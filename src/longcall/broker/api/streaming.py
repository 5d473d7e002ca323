"""One streaming pull: messages down, acks and lease changes up, until either side ends it.

Rests on the comments of `StreamingPullRequest` in `pubsub.proto`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import grpc

from longcall._core.clock import Clock
from longcall.broker.api.methods import Call
from longcall.broker.core.ack_ids import AckId, encode_ack_id
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.core.leases import Consumer, Lease
from longcall.broker.core.subscription import ActiveSubscription
from longcall.broker.errors import InvalidArgument
from longcall.broker.protos import Confirmation, ReceivedMessage, StreamingPullRequest, StreamingPullResponse
from longcall.broker.rules.names import check_name
from longcall.broker.wire import Wire

__all__ = ["MAX_RESPONSE_BYTES", "StreamingPull", "check_lease_s", "received_messages"]

MAX_RESPONSE_BYTES: Final = 3_500_000
"""Clients that connect to an emulator accept 4 MiB a response."""

_MAX_BATCH: Final = 1000
_UNLIMITED: Final = 1 << 62


class StreamingPull:
    """Serves one stream. `run` returns when the client has ended it.

    Raises from `run`:
        NotFound: the subscription is not there, or was deleted.
        FailedPrecondition: it is detached from its topic, or pushes.
        InvalidArgument: the client asked for what a stream cannot do.
    """

    def __init__(self, core: BrokerCore, clock: Clock) -> None:
        self._core = core
        self._clock = clock
        self._lease_s = 10.0
        self._writing = asyncio.Lock()

    async def run(self, requests: AsyncIterator[StreamingPullRequest], call: Call) -> None:
        """Serve the stream."""
        first = await anext(requests, None)
        if first is None:
            return
        subscription = self._core.state.subscription(check_name(first.subscription, "subscriptions"))
        self._lease_s = _check_stream_lease(first.stream_ack_deadline_seconds)
        consumer = Consumer(
            max_messages=first.max_outstanding_messages if first.max_outstanding_messages > 0 else _UNLIMITED,
            max_bytes=first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else _UNLIMITED,
        )
        with subscription.streaming() as ended:
            reading = asyncio.create_task(self._read(subscription, first, requests, call))
            writing = asyncio.create_task(self._write(subscription, consumer, call))
            try:
                await asyncio.wait({reading, writing, ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                subscription.active_s = self._clock.now().timestamp()
                for task in (reading, writing):
                    task.cancel()
                outcomes = await asyncio.gather(reading, writing, return_exceptions=True)
            if ended.done():
                ended.result()
        for outcome in outcomes:
            # gRPC's own error: the client has gone while something was sent to it.
            if isinstance(outcome, Exception) and not isinstance(outcome, grpc.aio.InternalError):
                raise outcome

    async def _read(
        self,
        subscription: ActiveSubscription,
        first: StreamingPullRequest,
        requests: AsyncIterator[StreamingPullRequest],
        call: Call,
    ) -> None:
        await self._apply(subscription, first, call)
        async for request in requests:
            if request.subscription or request.max_outstanding_messages or request.max_outstanding_bytes:
                raise InvalidArgument(
                    "subscription and max_outstanding_* can be set in the first request of a stream only."
                )
            if request.stream_ack_deadline_seconds:
                self._lease_s = _check_stream_lease(request.stream_ack_deadline_seconds)
            await self._apply(subscription, request, call)

    async def _apply(
        self,
        subscription: ActiveSubscription,
        request: StreamingPullRequest,
        call: Call,
    ) -> None:
        deadlines, extended = request.modify_deadline_seconds, request.modify_deadline_ack_ids
        if len(deadlines) != len(extended):
            raise InvalidArgument("modify_deadline_seconds and modify_deadline_ack_ids differ in length.")
        response = self._response(subscription)
        refused: list[str] = []
        for seconds, ack_id in zip(deadlines, extended, strict=True):
            lease_s = check_lease_s(seconds)
            refused += self._core.traffic.extend(subscription, [ack_id], lease_s=lease_s)
        if extended:
            _confirm(response.modify_ack_deadline_confirmation, extended, refused)
        if request.ack_ids:
            refused = await self._core.traffic.acknowledge(subscription, request.ack_ids)
            _confirm(response.acknowledge_confirmation, request.ack_ids, refused)
        if subscription.is_exactly_once and (extended or request.ack_ids):
            async with self._writing:
                await call.write(response)

    async def _write(
        self,
        subscription: ActiveSubscription,
        consumer: Consumer,
        call: Call,
    ) -> None:
        while True:
            leases = subscription.take(
                consumer,
                now_s=self._clock.monotonic_s(),
                lease_s=self._lease_s,
                max_messages=_MAX_BATCH,
                max_bytes=MAX_RESPONSE_BYTES,
            )
            if not leases:
                await subscription.wait(consumer)
                continue
            self._core.timers.watch(subscription)
            response = self._response(subscription)
            response.received_messages.extend(received_messages(self._core, subscription, leases))
            async with self._writing:
                await call.write(response)

    def _response(self, subscription: ActiveSubscription) -> StreamingPullResponse:
        response = Wire.StreamingPullResponse()
        properties = response.subscription_properties
        properties.exactly_once_delivery_enabled = subscription.is_exactly_once
        properties.message_ordering_enabled = subscription.body.enable_message_ordering
        return response


def received_messages(
    core: BrokerCore, subscription: ActiveSubscription, leases: list[Lease]
) -> list[ReceivedMessage]:
    """Return leased messages as clients receive them; with a dead-letter policy, with their attempt."""
    counts = subscription.queue.rules.max_attempts is not None
    received = []
    for lease in leases:
        core.state.observer.note("delivered", subscription.name, lease.message_id, attempt=lease.attempt)
        ack_id = encode_ack_id(AckId(subscription.number, lease.message_id, lease.serial))
        message = Wire.ReceivedMessage(ack_id=ack_id, message=core.traffic.message(lease.message_id).body)
        if counts:
            message.delivery_attempt = lease.attempt
        received.append(message)
    return received


def _confirm(confirmation: Confirmation, ack_ids: Sequence[str], invalid: Sequence[str]) -> None:
    refused = set(invalid)
    confirmation.ack_ids.extend(ack_id for ack_id in ack_ids if ack_id not in refused)
    confirmation.invalid_ack_ids.extend(invalid)


def check_lease_s(seconds: int) -> float:
    """Return a deadline that a client asks for.

    Raises:
        InvalidArgument: it is not between 0 and 600 seconds.
    """
    if not 0 <= seconds <= 600:
        raise InvalidArgument(
            f"Invalid ack deadline given (ack_deadline={seconds}). "
            "The ack deadline must be between 0 and 600 seconds."
        )
    return float(seconds)


def _check_stream_lease(seconds: int) -> float:
    if not 10 <= seconds <= 600:
        raise InvalidArgument(
            f"Invalid ack deadline given (ack_deadline={seconds}). "
            "The ack deadline of a stream must be between 10 and 600 seconds."
        )
    return float(seconds)
