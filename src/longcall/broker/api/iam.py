"""`google.iam.v1.IAMPolicy`: policies are kept and returned, and never enforced."""

from __future__ import annotations

import logging

from google.iam.v1 import iam_policy_pb2 as iam
from google.iam.v1.policy_pb2 import Policy

from longcall.broker.api.methods import Context, Methods
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.rules.policies import check_permissions

__all__ = ["IamApi"]

log = logging.getLogger(__name__)


class IamApi:
    """`google.iam.v1.IAMPolicy`, for topics, subscriptions, snapshots and schemas."""

    def __init__(self, core: BrokerCore) -> None:
        self._core = core

    def methods(self) -> Methods:
        """Return the methods by name, with the class of their request."""
        return {
            "SetIamPolicy": (self._set, iam.SetIamPolicyRequest),
            "GetIamPolicy": (self._get, iam.GetIamPolicyRequest),
            "TestIamPermissions": (self._test, iam.TestIamPermissionsRequest),
        }

    async def _set(self, request: iam.SetIamPolicyRequest, _: Context) -> Policy:
        policy = await self._core.policies.set(request.resource, request.policy, request.update_mask.paths)
        log.info("Set the IAM policy of %s", request.resource)
        return policy

    async def _get(self, request: iam.GetIamPolicyRequest, _: Context) -> Policy:
        return self._core.policies.get(request.resource)

    async def _test(
        self, request: iam.TestIamPermissionsRequest, _: Context
    ) -> iam.TestIamPermissionsResponse:
        check_permissions(request.permissions)
        if not self._core.policies.exists(request.resource):
            return iam.TestIamPermissionsResponse()  # and not NOT_FOUND, says iam_policy.proto
        return iam.TestIamPermissionsResponse(permissions=request.permissions)
