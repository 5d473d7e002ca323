"""Updates with a field mask: what a request may change, and the resource that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longcall.broker.errors import InvalidArgument

__all__ = ["masked_update"]


def masked_update(
    resource: Any,  # protobuf classes have no hints
    update: Any,
    paths: Sequence[str],
    *,
    mutable: Sequence[str],
    fixed: Sequence[str],
) -> Any:
    """Return a copy of `resource` with the fields of `update` that `paths` name.

    Args:
        resource: a protobuf message; its class is named in errors.
        update: another of its class.
        paths: names of fields.
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
        if path in fixed:
            raise InvalidArgument(
                f"Invalid update_mask provided in the {request}: the '{path}' field in the {kind} "
                "is not mutable."
            )
        if path not in mutable:
            raise InvalidArgument(
                f"Invalid update_mask provided in the {request}: '{path}' is not a known {kind} field "
                "that can be updated."
            )
    changed = type(resource)()
    changed.CopyFrom(resource)
    wanted = type(resource)()
    wanted.CopyFrom(update)
    for field, _ in update.ListFields():
        if field.name not in paths:
            wanted.ClearField(field.name)
    for path in paths:
        changed.ClearField(path)
    changed.MergeFrom(wanted)
    return changed
