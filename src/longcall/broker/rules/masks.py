"""Updates with a field mask: what a request may change, and the resource that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.field_mask_pb2 import FieldMask

from longcall.broker.errors import InvalidArgument
from longcall.broker.protos import ProtoMessage

__all__ = ["masked_update"]

_M = TypeVar("_M", bound=ProtoMessage)


def masked_update(
    resource: _M,
    update: _M,
    paths: Sequence[str],
    *,
    mutable: Sequence[str],
    fixed: Sequence[str],
) -> _M:
    """Return a copy of `resource` with the fields of `update` that `paths` name.

    Args:
        resource: a protobuf message; its class is named in errors.
        update: another of its class.
        paths: names of fields, also nested ones: `retry_policy.minimum_backoff`.
        mutable: fields that may change.
        fixed: fields that are there and may not.

    Raises:
        InvalidArgument: the mask is empty, or names what cannot change or is not there.
    """
    kind = type(resource).__name__
    request = f"Update{kind}Request"
    if not paths:
        raise InvalidArgument(f"The update_mask in the {request} must be set, and must not be empty.")
    for path in paths:
        field, _, _ = path.partition(".")
        if field in fixed:
            raise InvalidArgument(
                f"Invalid update_mask provided in the {request}: the '{field}' field in the {kind} "
                "is not mutable."
            )
        if field not in mutable:
            raise _unknown(path, kind)
    changed = type(resource)()
    changed.CopyFrom(resource)
    try:
        FieldMask(paths=paths).MergeMessage(
            update, changed, replace_message_field=True, replace_repeated_field=True
        )
    except ValueError as error:
        raise _unknown(error, kind) from error
    return changed


def _unknown(what: object, kind: str) -> InvalidArgument:
    return InvalidArgument(
        f"Invalid update_mask provided in the Update{kind}Request: '{what}' is not a known {kind} field "
        "that can be updated."
    )
