"""Which subscriptions the broker has, asked as any administrator could ask Google Pub/Sub."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from longcall.contract import resource_id

__all__ = ["InboxList"]


class InboxList:
    """A connection that lists the subscriptions of one project. Leaving the `with` closes it."""

    def __init__(self, host: str, project: str) -> None:
        """Connect, without credentials.

        Args:
            host: `host:port` of the broker.
            project: Google project id.
        """
        self._channel = grpc.insecure_channel(host)
        self._client = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        self._project = project

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._channel.close()

    def ids(self) -> frozenset[str]:
        """Return the ids, the last parts of their paths, of all subscriptions that exist now."""
        page = self._client.list_subscriptions(project=f"projects/{self._project}", timeout=10.0)
        return frozenset(resource_id(subscription.name) for subscription in page)
