"""Google's own client of the HTTP/JSON API, in the place of the gRPC one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.protobuf import json_format
from google.pubsub_v1.services.publisher.transports.rest import PublisherRestTransport
from google.pubsub_v1.services.schema_service.transports.rest import SchemaServiceRestTransport
from google.pubsub_v1.services.subscriber.transports.rest import SubscriberRestTransport
from google.rpc.status_pb2 import Status
from tests.conformance.pubsub import WAIT_S, PubSub

__all__ = ["connected_by_http"]


class HttpError(grpc.RpcError):
    """An answer of the HTTP API, as the one that gRPC would have given."""

    def __init__(self, error: GoogleAPICallError) -> None:
        super().__init__(error)
        self._body = error.response.json()["error"]
        assert self._body["code"] == error.response.status_code
        assert error.response.headers["content-type"].startswith("application/json")

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self._body["status"]]

    def details(self) -> str:
        return str(self._body["message"])

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        body = {"message": self.details(), "details": self._body.get("details", [])}
        status = json_format.ParseDict(body, Status(code=self.code().value[0]))
        return (("grpc-status-details-bin", status.SerializeToString()),)


class Translated:
    """A transport whose errors are those of gRPC."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._transport, name)

        def call(request: Any, timeout: float = WAIT_S) -> Any:
            """As gRPC does, tell the server how long the client waits."""
            metadata = (("x-server-timeout", str(timeout)),)
            try:
                return method(request, timeout=timeout + WAIT_S, metadata=metadata)
            except GoogleAPICallError as error:
                raise HttpError(error) from error
            except ValueError as error:
                pytest.skip(f"Google's client does not send it: {error}")

        return call


@contextmanager
def connected_by_http(address: str, advance: Callable[[float], None]) -> Iterator[PubSub]:
    """Connect to a server."""
    with ExitStack() as stack:
        transports = []
        for kind in (PublisherRestTransport, SubscriberRestTransport, SchemaServiceRestTransport):
            transport = kind(host=address, credentials=AnonymousCredentials(), url_scheme="http")
            stack.callback(transport.close)
            transports.append(Translated(transport))
        yield PubSub("http", address, *transports, advance)
