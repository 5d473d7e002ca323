"""Push configurations as they are accepted and shown.

Rests on the comments of `PushConfig` in `pubsub.proto`. Unlike the real service,
this one takes `http` too: the endpoint is a program on the same machine.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from longcall.broker.errors import InvalidArgument
from longcall.broker.protos import PushConfig, Subscription

__all__ = ["VERSION_ATTRIBUTE", "check_push", "fill_push_defaults"]

VERSION_ATTRIBUTE: Final = "x-goog-version"
"""The one attribute that a push configuration may have."""

_VERSIONS: Final = ("v1", "v1beta2", "v1beta1")
_MAX_ENDPOINT_LENGTH: Final = 2048
_VISIBLE: Final = re.compile(r"[!-~]+")


def fill_push_defaults(config: PushConfig, *, former: PushConfig | None = None) -> None:
    """Complete a `PushConfig` in place. One without an endpoint means pull, and has nothing else.

    Args:
        config: as the client sent it.
        former: the one before it, whose version stays where the new one says none.
    """
    if not config.push_endpoint:
        config.Clear()
    elif VERSION_ATTRIBUTE not in config.attributes:
        said = former.attributes.get(VERSION_ATTRIBUTE) if former is not None else None
        config.attributes[VERSION_ATTRIBUTE] = said or _VERSIONS[0]


def check_push(subscription: Subscription) -> None:
    """Return if a subscription can be pushed as it asks for, or does not ask.

    Raises:
        InvalidArgument: the endpoint is no URL, an attribute is unknown, or it wants exactly-once delivery.
    """
    config = subscription.push_config
    if not config.push_endpoint:
        return
    if not _is_url(config.push_endpoint):
        raise InvalidArgument(
            f"Invalid push endpoint given (endpoint={config.push_endpoint[:300]}). "
            "It must be an http or https URL, in ASCII."
        )
    for name, value in config.attributes.items():
        if name != VERSION_ATTRIBUTE:
            raise InvalidArgument(
                f"Invalid push attribute given (attribute={name[:100]}): {VERSION_ATTRIBUTE} is the only one."
            )
        if value not in _VERSIONS:
            raise InvalidArgument(
                f"Invalid value of push attribute {name} given (value={value[:100]}): "
                f"one of {', '.join(_VERSIONS)}."
            )
    if subscription.enable_exactly_once_delivery:
        raise InvalidArgument("Exactly-once delivery is available for pull subscriptions only.")


def _is_url(text: str) -> bool:
    if len(text) > _MAX_ENDPOINT_LENGTH or not _VISIBLE.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
