"""gRPC in front of the API's methods: which service has which, and how a refusal becomes a status."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from longcall.broker.api.methods import Call, Methods, not_here
from longcall.broker.errors import BrokerError, InvalidArgument, StoreError
from longcall.broker.protos import MessageClass, ProtoMessage
from longcall.broker.wire import Wire

__all__ = ["StreamingPullMethod", "generic_handlers"]

_M = TypeVar("_M", bound=ProtoMessage)

log = logging.getLogger(__name__)

StreamingPullMethod: TypeAlias = Callable[[Any, Call], Awaitable[None]]

_SUBSCRIBER: Final = "google.pubsub.v1.Subscriber"
_GOOGLE_PACKAGES: Final = ("google.iam.v1.", "google.pubsub.v1.")


def generic_handlers(
    services: Mapping[str, Methods], streaming_pull: StreamingPullMethod
) -> list[grpc.GenericRpcHandler]:
    """Return handlers for a `grpc.aio` server.

    Args:
        services: the unary methods of each service, by the full name of the service.
        streaming_pull: the one method that is a stream.
    """
    handlers: list[grpc.GenericRpcHandler] = []
    for service, methods in services.items():
        rpcs: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: _unary(method, kind) for name, (method, kind) in methods.items()
        }
        if service == _SUBSCRIBER:
            rpcs["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
                _refusing(_read_stream(streaming_pull)),
                response_serializer=_serialize,
            )
        handlers.append(grpc.method_handlers_generic_handler(service, rpcs))
    return [*handlers, _NotHere()]


class _NotHere(grpc.GenericRpcHandler):
    """Answers the methods of Google Pub/Sub that the broker does not have. All of them are unary."""

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return a handler that refuses; None for what is no method of Google Pub/Sub."""
        service, _, method = handler_call_details.method.lstrip("/").partition("/")
        if not service.startswith(_GOOGLE_PACKAGES):
            return None

        async def refuse(_: Any, call: Call) -> None:
            await call.abort(grpc.StatusCode.UNIMPLEMENTED, str(not_here(service, method)))

        return grpc.unary_unary_rpc_method_handler(refuse)


def _unary(
    method: Callable[[Any, Call], Awaitable[Any]], kind: MessageClass[ProtoMessage]
) -> grpc.RpcMethodHandler[Any, Any]:
    async def read(body: bytes, call: Call) -> Any:
        return await method(_parse(kind, body), call)

    return grpc.unary_unary_rpc_method_handler(_refusing(read), response_serializer=_serialize)


def _read_stream(method: StreamingPullMethod) -> StreamingPullMethod:
    async def read(bodies: AsyncIterator[bytes], call: Call) -> None:
        await method(_parsed(bodies), call)

    return read


async def _parsed(bodies: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Yield the requests; touch the stream when the first is wanted: gRPC warns of one not read on."""
    async for body in bodies:
        yield _parse(Wire.StreamingPullRequest, body)


def _parse(kind: MessageClass[_M], body: bytes) -> _M:
    """Read a request; done here, since gRPC itself answers UNKNOWN, and logs a traceback."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise InvalidArgument("The request cannot be parsed.") from error


def _serialize(message: ProtoMessage) -> bytes:
    return message.SerializeToString()


def _refusing(method: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Call], Awaitable[Any]]:
    """Turn errors into the status that the client sees."""

    async def answer(request: Any, call: Call) -> Any:
        try:
            return await method(request, call)
        except BrokerError as error:
            if error.details:
                call.set_trailing_metadata((("grpc-status-details-bin", _rich_status(error)),))
            await call.abort(grpc.StatusCode[error.code], str(error))
        except StoreError as error:
            await call.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Exception:
            log.exception("A request failed")
            await call.abort(grpc.StatusCode.INTERNAL, "The broker failed; its log says why.")

    return answer


def _rich_status(error: BrokerError) -> bytes:
    """Return the status with its details, as the gRPC richer error model sends it."""
    status = Status(code=grpc.StatusCode[error.code].value[0], message=str(error))
    for detail in error.details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return bytes(status.SerializeToString())
