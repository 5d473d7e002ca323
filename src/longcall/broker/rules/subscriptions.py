"""Subscriptions as they are created and updated: defaults, limits, what may change.

Rests on the comments of `pubsub.proto`; limits and messages are the real
service's, as far as they were recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from longcall.broker.errors import InvalidArgument, Unimplemented
from longcall.broker.protos import DeadLetterPolicy, RetryPolicy, Subscription, Topic
from longcall.broker.rules.delivery import DeliveryRules, RetryDelays
from longcall.broker.rules.durations import DAY_S, check_retention, go_duration
from longcall.broker.rules.masks import masked_update
from longcall.broker.rules.names import check_labels, check_name, project_of
from longcall.broker.rules.push import check_push, fill_push_defaults
from longcall.broker.wire import Wire, seconds_of, set_seconds

__all__ = [
    "checked_subscription",
    "delivery_rules",
    "expires_after_s",
    "updated_subscription",
    "with_topic_retention",
]

_DEFAULT_ACK_DEADLINE_S: Final = 10
_DEFAULT_RETENTION_S: Final = 7 * DAY_S
_DEFAULT_TTL_S: Final = 31 * DAY_S
_ATTEMPTS: Final = (5, 100)
_MAX_BACKOFF_S: Final = 600.0
_DEFAULT_BACKOFF_S: Final = (10.0, 600.0)
_FIXED: Final = ("name", "topic", "filter", "enable_message_ordering")
_MUTABLE: Final = (
    "ack_deadline_seconds",
    "dead_letter_policy",
    "enable_exactly_once_delivery",
    "expiration_policy",
    "labels",
    "message_retention_duration",
    "push_config",
    "retain_acked_messages",
    "retry_policy",
)
_OUTPUT: Final = ("detached", "state", "topic_message_retention_duration")


def checked_subscription(subscription: Subscription, *, name_if_none: str) -> Subscription:
    """Return the subscription as it is created, with the defaults filled in.

    Args:
        subscription: as the client sent it.
        name_if_none: id for one that comes without a name; it will be in the project of the topic.

    Raises:
        InvalidArgument: names the field.
        Unimplemented: it asks for what this broker cannot do yet.
    """
    if subscription.name:
        check_name(subscription.name, "subscriptions")
    check_name(subscription.topic, "topics")
    created = Wire.Subscription()
    created.CopyFrom(subscription)
    for field in _OUTPUT:
        created.ClearField(field)
    if not created.name:
        created.name = f"projects/{project_of(created.topic)}/subscriptions/{name_if_none}"
    created.push_config.SetInParent()
    fill_push_defaults(created.push_config)
    _fill_defaults(created)
    _check_values(created)
    created.state = 1  # ACTIVE
    return created


def updated_subscription(
    subscription: Subscription, update: Subscription, paths: Sequence[str]
) -> Subscription:
    """Return a subscription with the masked fields of `update`.

    Raises:
        InvalidArgument: the mask is empty, or names what cannot change or is not there.
    """
    changed = masked_update(subscription, update, paths, mutable=_MUTABLE, fixed=_FIXED)
    changed.push_config.SetInParent()
    fill_push_defaults(changed.push_config, former=subscription.push_config)
    _fill_defaults(changed)
    _check_values(changed)
    return changed


def with_topic_retention(subscription: Subscription, topic: Topic) -> Subscription:
    """Return a subscription that shows for how long its topic keeps messages, if it does."""
    shown = Wire.Subscription()
    shown.CopyFrom(subscription)
    shown.ClearField("topic_message_retention_duration")
    if topic.HasField("message_retention_duration"):
        shown.topic_message_retention_duration.CopyFrom(topic.message_retention_duration)
    return shown


def expires_after_s(subscription: Subscription) -> float | None:
    """Return after how long without activity a subscription goes; None: never."""
    if not subscription.expiration_policy.HasField("ttl"):
        return None
    return seconds_of(subscription.expiration_policy.ttl)


def delivery_rules(subscription: Subscription) -> DeliveryRules:
    """Return how a subscription wants its messages. Without a retry policy they do not rest."""
    delays = RetryDelays()
    if subscription.HasField("retry_policy"):
        policy = subscription.retry_policy
        delays = RetryDelays(
            min_s=seconds_of(policy.minimum_backoff), max_s=seconds_of(policy.maximum_backoff)
        )
    has_dead_letters = subscription.HasField("dead_letter_policy")
    return DeliveryRules(
        delays=delays,
        ordered=subscription.enable_message_ordering,
        exactly_once=subscription.enable_exactly_once_delivery,
        max_attempts=subscription.dead_letter_policy.max_delivery_attempts if has_dead_letters else None,
    )


def _check_values(subscription: Subscription) -> None:
    check_labels(subscription.labels)
    _refuse_unavailable(subscription)
    if not 10 <= subscription.ack_deadline_seconds <= 600:
        raise InvalidArgument(
            f"Invalid ack deadline given (ack_deadline={subscription.ack_deadline_seconds}). "
            "The ack deadline must be between 10 and 600 seconds."
        )
    retention_s = check_retention(subscription.message_retention_duration)
    ttl_s = expires_after_s(subscription)
    if ttl_s is not None:
        _check_ttl(ttl_s, retention_s)
    _check_backoff(delivery_rules(subscription).delays)
    if subscription.HasField("dead_letter_policy"):
        _check_dead_letters(subscription.dead_letter_policy)
    check_push(subscription)


def _refuse_unavailable(subscription: Subscription) -> None:
    """Say no to what would otherwise be silently ignored."""
    asked = {
        "bigquery_config": subscription.HasField("bigquery_config"),
        "cloud_storage_config": subscription.HasField("cloud_storage_config"),
        "bigtable_config": subscription.HasField("bigtable_config"),
        "message_transforms": bool(subscription.message_transforms),
    }
    for field, wanted in asked.items():
        if wanted:
            raise Unimplemented(f"{field} is not available in this broker.")


def _check_ttl(ttl_s: float, retention_s: float) -> None:
    if ttl_s < DAY_S:
        raise InvalidArgument(
            "The value for expiration duration is too small. "
            f"You passed {go_duration(ttl_s)} in the request, but the minimum value is 24h."
        )
    if retention_s > ttl_s:
        raise InvalidArgument(
            f"The subscription's message retention duration ({retention_s:.0f} seconds) cannot be greater "
            f"than the TTL in the subscription's expiration policy ({ttl_s:.0f} seconds), since messages "
            "cannot be retained past subscription expiration."
        )


def _fill_defaults(subscription: Subscription) -> None:
    if subscription.ack_deadline_seconds == 0:
        subscription.ack_deadline_seconds = _DEFAULT_ACK_DEADLINE_S
    if not subscription.HasField("message_retention_duration"):
        set_seconds(subscription.message_retention_duration, _DEFAULT_RETENTION_S)
    if not subscription.HasField("expiration_policy"):
        set_seconds(subscription.expiration_policy.ttl, _DEFAULT_TTL_S)
    if subscription.HasField("retry_policy"):
        _fill_backoff(subscription.retry_policy)
    if (
        subscription.HasField("dead_letter_policy")
        and not subscription.dead_letter_policy.max_delivery_attempts
    ):
        subscription.dead_letter_policy.max_delivery_attempts = _ATTEMPTS[0]


def _fill_backoff(policy: RetryPolicy) -> None:
    for name, default_s in zip(("minimum_backoff", "maximum_backoff"), _DEFAULT_BACKOFF_S, strict=True):
        if not policy.HasField(name):
            set_seconds(getattr(policy, name), default_s)


def _check_backoff(delays: RetryDelays) -> None:
    for name, value in (("minimum", delays.min_s), ("maximum", delays.max_s)):
        if not 0 <= value <= _MAX_BACKOFF_S:
            raise InvalidArgument(
                f"The {name} backoff must be between 0 and 600 seconds; you passed {value:g}."
            )
    if delays.min_s > delays.max_s:
        raise InvalidArgument("The minimum backoff must not be greater than the maximum backoff.")


def _check_dead_letters(policy: DeadLetterPolicy) -> None:
    check_name(policy.dead_letter_topic, "topics")
    least, most = _ATTEMPTS
    attempts = policy.max_delivery_attempts
    if attempts < least:
        raise InvalidArgument(
            f"The value for max_delivery_attempts is too small. You passed {attempts} in the request, "
            f"but the minimum value is {least}."
        )
    if attempts > most:
        raise InvalidArgument(
            f"The value for max_delivery_attempts is too large. You passed {attempts} in the request, "
            f"but the maximum value is {most}."
        )
