"""From Airflow connections to what longcall works with.

Google connection: project and credentials for Pub/Sub. With `PUBSUB_EMULATOR_HOST`
set, no credentials are looked up and none are asked for. HTTP connection: the
service, with its host, credentials, headers and options, through Airflow's own hook.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longcall.airflow.version_compat import AirflowException, AirflowNotFoundException, BaseHook
from longcall.contract import ContractError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from longcall.transport.pubsub import PubSubTransport

__all__ = ["EMULATOR_VARIABLE", "PubSubAccess", "find_access", "resolve_project"]

EMULATOR_VARIABLE = "PUBSUB_EMULATOR_HOST"
_PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCP_PROJECT")


def resolve_project(project_id: str | None, *, gcp_conn_id: str) -> str:
    """Return the project that holds topic and inboxes.

    In this order: the operator's `project_id`, the Google connection's, the environment's.

    Raises:
        ContractError: none of them names one.
    """
    project = project_id or _project_of_connection(gcp_conn_id) or _project_of(os.environ)
    if not project:
        raise ContractError(
            "project_id",
            f"none given: set project_id on the task, `project` in the connection {gcp_conn_id!r}, "
            "or GOOGLE_CLOUD_PROJECT in the environment",
        )
    return project


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubAccess:
    """How this process reaches Pub/Sub: an emulator's host and port, or credentials."""

    emulator_host: str | None = None
    credentials: Credentials | None = None

    def open(self) -> PubSubTransport:
        """Connect, in the running event loop and for it alone; the caller closes it."""
        from longcall.transport.pubsub import PubSubTransport

        return PubSubTransport(emulator_host=self.emulator_host, credentials=self.credentials)


def find_access(gcp_conn_id: str) -> PubSubAccess:
    """Return the way to Pub/Sub that the environment and the Google connection name.

    Looks up the connection, so a trigger calls this in a thread.

    Raises:
        AirflowNotFoundException: there is no such connection.
    """
    emulator = os.environ.get(EMULATOR_VARIABLE)
    if emulator:
        return PubSubAccess(emulator_host=emulator)
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    return PubSubAccess(credentials=GoogleBaseHook(gcp_conn_id=gcp_conn_id).get_credentials())


def _project_of(environ: Mapping[str, str]) -> str | None:
    return next((environ[name] for name in _PROJECT_VARIABLES if environ.get(name)), None)


def _project_of_connection(gcp_conn_id: str) -> str | None:
    if os.environ.get(EMULATOR_VARIABLE):
        try:
            extra = BaseHook.get_connection(gcp_conn_id).extra_dejson
        except AirflowNotFoundException:
            return None
        return extra.get("project") or extra.get("extra__google_cloud_platform__project")
    from airflow.providers.google.common.hooks.base_google import PROVIDE_PROJECT_ID, GoogleBaseHook

    try:
        project = GoogleBaseHook(gcp_conn_id=gcp_conn_id).project_id
    except AirflowException as error:
        raise ContractError("gcp_conn_id", f"{gcp_conn_id!r} gives no usable credentials: {error}") from error
    return None if project == PROVIDE_PROJECT_ID else project
