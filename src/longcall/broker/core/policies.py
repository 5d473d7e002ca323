"""IAM policies: kept and returned, and never enforced; the broker lets everybody in.

Rests on the comments of `google/iam/v1/iam_policy.proto` and `policy.proto`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from google.iam.v1.policy_pb2 import Policy

from longcall.broker.core.policy import ResourcePolicy
from longcall.broker.core.state import BrokerState
from longcall.broker.core.store import Write
from longcall.broker.errors import Aborted, NotFound
from longcall.broker.rules.names import check_resource_name
from longcall.broker.rules.policies import updated_policy

__all__ = ["Policies"]

_NO_POLICY_ETAG: Final = b"\x00 \x01"
"""What Google's services send for a resource without a policy."""


class _Numbered(Protocol):
    """What is told from an earlier one of its name."""

    @property
    def number(self) -> int:
        """The higher, the later."""
        ...


class Policies:
    """The policies of topics, subscriptions, snapshots and schemas. Changes return when they are durable.

    A policy belongs to the one resource it was set on: a later one of the same name has none.
    """

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def get(self, resource: str) -> Policy:
        """Return the policy of a resource; an empty one with an etag if none was set.

        Raises:
            InvalidArgument: the name is none of a resource.
            NotFound: there is no such resource.
        """
        number = self._number_of(resource)
        policy = self._state.policies.get(resource)
        if policy is None or policy.number != number:
            return Policy(etag=_NO_POLICY_ETAG)
        return policy.body

    async def set(self, resource: str, wanted: Policy, paths: Sequence[str]) -> Policy:
        """Put a policy in place of the former one; return it with its new etag.

        Args:
            resource: full path.
            wanted: a `Policy`. With an etag, the policy must not have changed since that was read.
            paths: fields to take over; none: all of them.

        Raises:
            InvalidArgument: the name or the policy is none.
            NotFound: there is no such resource.
            Aborted: the etag is another.
        """
        current = self.get(resource)
        body = updated_policy(current, wanted, paths)
        if wanted.etag and wanted.etag != current.etag:
            raise Aborted(
                "There were concurrent policy changes. Please retry the whole read-modify-write with "
                "exponential backoff."
            )
        body.etag = secrets.token_bytes(8)
        number = self._number_of(resource)
        self._state.policies[resource] = ResourcePolicy(number, body)
        saved = Write.resource("policy", resource, body.SerializeToString(), number=number)
        await self._state.store.write([saved])
        return body

    def exists(self, resource: str) -> bool:
        """Tell whether there is such a resource, or raise InvalidArgument."""
        try:
            self._number_of(resource)
        except NotFound:
            return False
        return True

    def remove_orphans(self) -> Iterator[Write]:
        """Forget the policies whose resource is gone; yield what must be written."""
        for resource, policy in list(self._state.policies.items()):
            if self._owner_number(resource) != policy.number:
                del self._state.policies[resource]
                yield Write.resource_gone("policy", resource)

    def _owner_number(self, resource: str) -> int | None:
        """Return the number of what has this name now, without that being activity."""
        state = self._state
        tables: Mapping[str, Mapping[str, _Numbered]] = {
            "topics": state.topics,
            "subscriptions": state.subscriptions,
            "snapshots": state.snapshots,
            "schemas": state.schemas,
        }
        owner = tables[check_resource_name(resource)].get(resource)
        return None if owner is None else owner.number

    def _number_of(self, resource: str) -> int:
        state = self._state
        match check_resource_name(resource):
            case "topics":
                return state.topic(resource).number
            case "subscriptions":
                return state.subscription(resource).number
            case "snapshots":
                return state.snapshot(resource).number
            case _:
                return state.schema(resource).number
