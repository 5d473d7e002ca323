"""IAM policies as they are set: what is in one, and what a field mask takes over.

Rests on the comments of `google/iam/v1/policy.proto`, and the page "Quotas and limits" of IAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.iam.v1.policy_pb2 import Policy
from google.protobuf.field_mask_pb2 import FieldMask

from longcall.broker.errors import InvalidArgument

__all__ = ["check_permissions", "updated_policy"]

_FIELDS: Final = ("audit_configs", "bindings", "etag", "version")
_VERSIONS: Final = (0, 1, 3)
_WITH_CONDITIONS: Final = 3
_MAX_MEMBERS: Final = 1500


def updated_policy(
    current: Policy,
    wanted: Policy,
    paths: Sequence[str],
) -> Policy:
    """Return what a policy becomes.

    Args:
        current: a `Policy`, left as it is.
        wanted: a `Policy`.
        paths: fields to take over; none: all of them.

    Raises:
        InvalidArgument: a version or a field that is none, a binding without a role, too many members, or
            a condition in a policy that does not say version 3.
    """
    for path in paths:
        if path not in _FIELDS:
            raise InvalidArgument(f"Invalid update_mask: {path[:100]!r} is no field of a Policy.")
    changed = Policy()
    changed.CopyFrom(current)
    FieldMask(paths=paths or _FIELDS).MergeMessage(
        wanted, changed, replace_message_field=True, replace_repeated_field=True
    )
    _check_policy(changed)
    return changed


def check_permissions(permissions: Sequence[str]) -> None:
    """Return if these can be asked for.

    Raises:
        InvalidArgument: one is empty or has a wildcard.
    """
    for permission in permissions:
        if not permission or "*" in permission:
            raise InvalidArgument(f"Invalid permission {permission[:100]!r}: it is empty or has a wildcard.")


def _check_policy(policy: Policy) -> None:
    if policy.version not in _VERSIONS:
        raise InvalidArgument(f"Invalid policy: version {policy.version} is none of 0, 1 and 3.")
    for binding in policy.bindings:
        if not binding.role:
            raise InvalidArgument("Invalid policy: a binding has no role.")
        if binding.HasField("condition") and policy.version != _WITH_CONDITIONS:
            raise InvalidArgument("Invalid policy: one with conditions must have version 3.")
    members = sum(len(binding.members) for binding in policy.bindings)
    if members > _MAX_MEMBERS:
        raise InvalidArgument(f"Invalid policy: {members} members, and the maximum is {_MAX_MEMBERS}.")
