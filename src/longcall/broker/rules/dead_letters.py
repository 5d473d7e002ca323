"""What a message looks like on its way to a dead-letter topic.

Rests on https://cloud.google.com/pubsub/docs/handling-failures.
"""

from __future__ import annotations

from typing import Final

from longcall.broker.protos import PubsubMessage
from longcall.broker.rules.names import project_of
from longcall.broker.wire import Wire

__all__ = ["dead_letter"]

_PREFIX: Final = "CloudPubSubDeadLetterSource"


def dead_letter(message: PubsubMessage, subscription: str, attempts: int) -> PubsubMessage:
    """Return a message to publish: data, attributes and ordering key, and where it comes from.

    Args:
        message: the `PubsubMessage` that failed.
        subscription: full name of the subscription that it failed in.
        attempts: how often it was delivered.
    """
    letter = Wire.PubsubMessage(data=message.data, ordering_key=message.ordering_key)
    letter.attributes.update(message.attributes)
    letter.attributes[f"{_PREFIX}DeliveryCount"] = str(attempts)
    letter.attributes[f"{_PREFIX}Subscription"] = subscription.rpartition("/")[2]
    letter.attributes[f"{_PREFIX}SubscriptionProject"] = project_of(subscription)
    letter.attributes[f"{_PREFIX}TopicPublishTime"] = message.publish_time.ToJsonString()
    return letter
