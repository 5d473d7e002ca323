"""The gRPC health service: answers that the broker serves, until it stops.

Rests on `grpc/health/v1/health.proto`. The ready-made servicer of
grpcio-health-checking brings a thread pool and a second kind of handler along.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from longcall.broker.api.methods import Call

__all__ = ["HealthApi"]

_SERVICES: Final = (
    "",
    "google.iam.v1.IAMPolicy",
    "google.pubsub.v1.Publisher",
    "google.pubsub.v1.SchemaService",
    "google.pubsub.v1.Subscriber",
)


class HealthApi:
    """`grpc.health.v1.Health`. For one event loop."""

    def __init__(self) -> None:
        self._is_serving = True
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, also to those who watch."""
        if serving != self._is_serving:
            self._is_serving = serving
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler for a `grpc.aio` server."""
        request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._check,
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    async def _check(
        self, request: health_pb2.HealthCheckRequest, context: Call
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service[:100]!r}")
        return self._status(request.service)

    async def _watch(
        self, request: health_pb2.HealthCheckRequest, _: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        while True:
            yield self._status(request.service)
            await self._changed.wait()

    def _status(self, service: str) -> health_pb2.HealthCheckResponse:
        response = health_pb2.HealthCheckResponse
        if service not in _SERVICES:
            return response(status=response.SERVICE_UNKNOWN)
        return response(status=response.SERVING if self._is_serving else response.NOT_SERVING)
