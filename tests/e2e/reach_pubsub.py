"""Creates an inbox through a Google connection, as a worker does; its arguments are whom to impersonate.

A process of its own, since gRPC reads the certificates that it trusts once.
"""

from __future__ import annotations

import os
import sys

from google.auth import iam

from longcall.airflow.connections import find_access, resolve_project
from longcall.airflow.inbox_admin import InboxAdmin
from longcall.airflow.route import PubSubRoute
from longcall.client import CallAddress
from longcall.transport.port import InboxSpec


def main() -> None:
    iam._IAM_ENDPOINT = iam._IAM_ENDPOINT.replace(
        "https://iamcredentials.googleapis.com", os.environ["FAKE_IAM"]
    )
    route = PubSubRoute("google", tuple(sys.argv[1:]), os.environ.get("ENDPOINT"))
    project = resolve_project(None, route=route)
    spec = InboxSpec(
        name=f"projects/{project}/subscriptions/inbox", topic=f"projects/{project}/topics/reports", filter=""
    )
    with InboxAdmin(find_access(route)) as inboxes:
        inboxes.create(CallAddress(correlation_id="inbox", inbox=spec, lasting=False))


if __name__ == "__main__":
    main()
