"""gRPC server reflection: tools such as grpcurl and Postman ask what can be called, and how.

google-cloud-pubsub brings the messages of the API and not its services. These are described here, from the
table of methods, in a descriptor pool of their own, when somebody first asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc
from google.iam.v1 import iam_policy_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from longcall.broker.api.methods import Methods
from longcall.broker.wire import Empty, Wire

__all__ = ["ReflectionApi"]

# Their messages are the same.
_VERSIONS: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_KNOWN: Final = (health_pb2, iam_policy_pb2, reflection_pb2)  # these bring their services
_STREAMING_PULL: Final = "StreamingPull"
_RETURN_THE_RESOURCE: Final = ("Create", "Get", "Update", "Commit", "Rollback")


class ReflectionApi:
    """`grpc.reflection.v1.ServerReflection`, and `v1alpha`.

    Args:
        services: the unary methods of each service, by the full name of the service.
    """

    def __init__(self, services: Mapping[str, Methods]) -> None:
        self._services = services
        self._servicer: Any = None

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers for a `grpc.aio` server."""
        method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._tell,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        methods = {"ServerReflectionInfo": method}
        return [grpc.method_handlers_generic_handler(version, methods) for version in _VERSIONS]

    async def _tell(self, requests: AsyncIterator[Any], call: Any) -> AsyncIterator[Any]:
        if self._servicer is None:
            names = [*self._services, "grpc.health.v1.Health", _VERSIONS[-1]]
            self._servicer = reflection.aio.ReflectionServicer(names, pool=_described(self._services))
        async for response in self._servicer.ServerReflectionInfo(requests, call):
            yield response


def _described(services: Mapping[str, Methods]) -> DescriptorPool:
    """Return a pool with the services and all that they speak of."""
    pool = DescriptorPool()
    added: set[str] = set()
    for module in _KNOWN:
        _add_file(module.DESCRIPTOR, pool, added)
    for service, methods in services.items():
        if service != "google.iam.v1.IAMPolicy":
            for _, kind in methods.values():
                _add_file(kind.DESCRIPTOR.file, pool, added)
            _add_file(Empty.DESCRIPTOR.file, pool, added)
            pool.Add(_service_file(service, methods))
    return pool


def _add_file(file: Any, pool: DescriptorPool, added: set[str]) -> None:
    """Copy a file's description, and those of the files that it imports."""
    if file.name in added:
        return
    added.add(file.name)
    for needed in file.dependencies:
        _add_file(needed, pool, added)
    described = FileDescriptorProto()
    file.CopyToProto(described)
    pool.Add(described)


def _service_file(name: str, methods: Methods) -> Any:
    """Describe a service in a file of its own: `google/pubsub/v1/publisher_service.proto`, for instance."""
    package, _, short = name.rpartition(".")
    file = FileDescriptorProto(
        name=f"{package.replace('.', '/')}/{short.lower()}_service.proto", package=package, syntax="proto3"
    )
    service = file.service.add(name=short)
    spoken = {method: (kind, _response_of(method, kind)) for method, (_, kind) in methods.items()}
    if short == "Subscriber":
        spoken[_STREAMING_PULL] = (Wire.StreamingPullRequest, Wire.StreamingPullResponse)
    for method, (request, response) in spoken.items():
        streams = method == _STREAMING_PULL
        service.method.add(
            name=method,
            input_type=f".{request.DESCRIPTOR.full_name}",
            output_type=f".{response.DESCRIPTOR.full_name}",
            client_streaming=streams,
            server_streaming=streams,
        )
    file.dependency.extend(
        sorted({each.DESCRIPTOR.file.name for messages in spoken.values() for each in messages})
    )
    return file


def _response_of(method: str, request: Any) -> Any:
    """Return the class of a method's response, by the way Google names them."""
    if request is Struct:
        return Struct
    if method == "DeleteSchemaRevision":
        return Wire.Schema
    for verb in _RETURN_THE_RESOURCE:
        if method.startswith(verb):
            return getattr(Wire, method.removeprefix(verb))
    return getattr(Wire, f"{method}Response", Empty)
