"""What an endpoint is sent for one message.

Rests on https://cloud.google.com/pubsub/docs/push and
https://cloud.google.com/pubsub/docs/payload-unwrapping. Both spellings of a field are
sent, as the real service does. The form of `v1beta1` rests on `PubsubEvent` in the
discovery document of that API.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from longcall.broker.protos import PubsubMessage, Subscription
from longcall.broker.rules.push import VERSION_ATTRIBUTE

__all__ = ["PushRequest", "push_request"]

_JSON: Final = ((b"Content-Type", b"application/json"),)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"(?![ \t])[^\x00-\x08\x0a-\x1f\x7f]*(?<![ \t])")
_NOT_FROM_ATTRIBUTES: Final = frozenset(
    (
        "authorization",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that say where a request ends, whom it is for, and from whom: a publisher has no say in that."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A POST, apart from its address."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def push_request(subscription: Subscription, message: PubsubMessage, *, attempt: int | None) -> PushRequest:
    """Return what to send.

    Args:
        subscription: its name and push configuration say in which form.
        message: the `PubsubMessage`.
        attempt: which delivery this is, from 1; None: without a dead-letter policy nobody is told.
    """
    config = subscription.push_config
    if config.WhichOneof("wrapper") == "no_wrapper":
        headers = _metadata(subscription.name, message) if config.no_wrapper.write_metadata else ()
        return PushRequest(headers, message.data)
    if config.attributes.get(VERSION_ATTRIBUTE) == "v1beta1":
        body = _oldest_form(message)
    else:
        body = _message(message)
    event: dict[str, Any] = {"message": body, "subscription": subscription.name}
    if attempt is not None:
        event["deliveryAttempt"] = attempt
    return PushRequest(_JSON, json.dumps(event).encode())


def _message(message: PubsubMessage) -> dict[str, Any]:
    published = message.publish_time.ToJsonString()
    body: dict[str, Any] = {"data": base64.b64encode(message.data).decode()}
    if message.attributes:
        body["attributes"] = dict(message.attributes)
    body |= {"messageId": message.message_id, "message_id": message.message_id}
    if message.ordering_key:
        body["orderingKey"] = message.ordering_key
    return body | {"publishTime": published, "publish_time": published}


def _oldest_form(message: PubsubMessage) -> dict[str, Any]:
    labels = [{"key": key, "strValue": value} for key, value in message.attributes.items()]
    return {
        "data": base64.b64encode(message.data).decode(),
        "label": labels,
        "messageId": message.message_id,
    }


def _metadata(subscription: str, message: PubsubMessage) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers; an attribute that cannot be one, or must not, is left out."""
    own = {
        "x-goog-pubsub-subscription-name": subscription,
        "x-goog-pubsub-message-id": message.message_id,
        "x-goog-pubsub-publish-time": message.publish_time.ToJsonString(),
    }
    if message.ordering_key and _HEADER_VALUE.fullmatch(message.ordering_key):
        own["x-goog-pubsub-ordering-key"] = message.ordering_key
    headers = {
        name: value
        for name, value in message.attributes.items()
        if name.lower() not in _NOT_FROM_ATTRIBUTES
        and name.lower() not in own
        and _HEADER_NAME.fullmatch(name)
        and _HEADER_VALUE.fullmatch(value)
    }
    return tuple((name.encode(), value.encode()) for name, value in (headers | own).items())
