"""One IAM policy in memory, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass

from google.iam.v1.policy_pb2 import Policy

from longcall.broker.core.store import SavedState

__all__ = ["ResourcePolicy", "load_policies"]


@dataclass(frozen=True, slots=True)
class ResourcePolicy:
    """A policy that was set.

    Attributes:
        number: of the resource: a later one of the same name has another.
        body: the `Policy` message as clients see it.
    """

    number: int
    body: Policy


def load_policies(state: SavedState) -> dict[str, ResourcePolicy]:
    """Return the policies that a store has kept, by the name of the resource."""
    return {
        saved.name: ResourcePolicy(saved.number, Policy.FromString(saved.body))
        for saved in state.of_kind("policy")
    }
