"""Snapshots as they are created and updated. Rests on the comments of `pubsub.proto`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from longcall.broker.errors import FailedPrecondition, InvalidArgument
from longcall.broker.protos import CreateSnapshotRequest, Snapshot
from longcall.broker.rules.durations import DAY_S
from longcall.broker.rules.masks import masked_update
from longcall.broker.rules.names import check_labels, check_name
from longcall.broker.wire import Wire

__all__ = ["checked_snapshot", "snapshot_lifetime_s", "updated_snapshot"]

_LIFETIME_S: Final = 7 * DAY_S
_MIN_LIFETIME_S: Final = 3600.0


def checked_snapshot(request: CreateSnapshotRequest, *, topic: str, expire_s: float) -> Snapshot:
    """Return the snapshot that a `CreateSnapshotRequest` asks for.

    Raises:
        InvalidArgument: names the field.
    """
    check_name(request.name, "snapshots")
    check_labels(request.labels)
    created = Wire.Snapshot(name=request.name, topic=topic, labels=request.labels)
    created.expire_time.FromNanoseconds(round(expire_s * 1e9))
    return created


def snapshot_lifetime_s(oldest_unacked_age_s: float) -> float:
    """Return how long a snapshot lives: seven days less the age of what it must keep.

    Raises:
        FailedPrecondition: that would be less than an hour.
    """
    lifetime_s = _LIFETIME_S - oldest_unacked_age_s
    if lifetime_s < _MIN_LIFETIME_S:
        raise FailedPrecondition(
            "The oldest message that is not acknowledged is too old: the snapshot would expire in an hour."
        )
    return lifetime_s


def updated_snapshot(snapshot: Snapshot, update: Snapshot, paths: Sequence[str], *, now_s: float) -> Snapshot:
    """Return a snapshot with the masked fields of `update`.

    Raises:
        InvalidArgument: the mask is empty, names what cannot change, or a value is out of bounds.
    """
    changed = masked_update(
        snapshot, update, paths, mutable=("expire_time", "labels"), fixed=("name", "topic")
    )
    check_labels(changed.labels)
    left_s = changed.expire_time.ToNanoseconds() / 1e9 - now_s
    if not 0 < left_s <= _LIFETIME_S:
        raise InvalidArgument("The expire_time of a snapshot must be within the next seven days.")
    return changed
