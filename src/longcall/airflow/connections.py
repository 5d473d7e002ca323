"""From Airflow's connections to Pub/Sub: settings, project, credentials, endpoint.

The Google connection is read as Airflow's own operators do: key, secret, configuration file, anonymous,
impersonation chain, quota project. With `PUBSUB_EMULATOR_HOST` set, no credentials are looked up and none
are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from longcall.airflow.route import PubSubRoute, checked_endpoint
from longcall.airflow.settings import LongCallConnection, refuse_unknown
from longcall.airflow.version_compat import AirflowException, AirflowNotFoundException, BaseHook
from longcall.contract import ContractError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from longcall.transport.pubsub import PubSubTransport

__all__ = ["EMULATOR_VARIABLE", "PubSubAccess", "find_access", "find_longcall_connection", "resolve_project"]

EMULATOR_VARIABLE = "PUBSUB_EMULATOR_HOST"
_PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCP_PROJECT")
_UNIVERSE_VARIABLE = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"
_REMEDIES: Final = {
    "quota_project_id": "the id of a project, 6 to 30 characters",
    "key_path": "a service account's key as JSON, that workers and triggerers can read",
    "keyfile_dict": "the whole JSON of a service account's key",
    "credential_config_file": "a configuration of workload identity federation, as a path or as JSON",
    "key_secret_name": "a secret that this machine's account may read, with a service account's key in it",
}
"""Fields of the Google connection that can be wrong, and what would be right."""


def find_longcall_connection(conn_id: str | None, *, strict: bool = False) -> LongCallConnection:
    """Return what a `longcall` connection says; None: no connection, which says nothing.

    Args:
        conn_id: the connection.
        strict: refuse a field that is none; a task leaves it to a newer version.

    Raises:
        AirflowNotFoundException: there is no such connection.
        ContractError: it is of another type, or one of its fields cannot be used.
    """
    if not conn_id:
        return LongCallConnection()
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type != "longcall":
        raise ContractError(
            "longcall_conn_id",
            f"{conn_id!r} is a connection of type {connection.conn_type!r}, not 'longcall'",
        )
    if strict:
        refuse_unknown(conn_id, connection.extra_dejson)
    return LongCallConnection.read(conn_id, password=connection.password, extra=connection.extra_dejson)


def resolve_project(project_id: str | None, *, route: PubSubRoute) -> str:
    """Return the project that holds topic and inboxes.

    In this order: the task's `project_id`, the Google connection's, the environment's.

    Raises:
        ContractError: none of them names one.
    """
    project = project_id or _project_of_connection(route) or _project_of(os.environ)
    if not project:
        raise ContractError(
            "project_id",
            f"none given: set project_id on the task, `project` in the connection {route.gcp_conn_id!r}, "
            "or GOOGLE_CLOUD_PROJECT in the environment",
        )
    return project


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubAccess:
    """How this process reaches Pub/Sub: an emulator's host and port, or credentials and an endpoint."""

    emulator_host: str | None = None
    credentials: Credentials | None = None
    endpoint: str | None = None

    def open(self) -> PubSubTransport:
        """Connect, in the running event loop and for it alone; the caller closes it."""
        from longcall.transport.pubsub import PubSubTransport

        return PubSubTransport(
            emulator_host=self.emulator_host, credentials=self.credentials, endpoint=self.endpoint
        )


def find_access(route: PubSubRoute) -> PubSubAccess:
    """Return the way to Pub/Sub that the environment and the Google connection name.

    Looks up the connection, so a trigger calls this in a thread.

    Raises:
        AirflowNotFoundException: there is no such connection.
        ContractError: what the connection says cannot be used; names the field.
    """
    emulator = os.environ.get(EMULATOR_VARIABLE)
    if emulator:
        return PubSubAccess(emulator_host=emulator)
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

    hook = GoogleBaseHook(
        gcp_conn_id=route.gcp_conn_id, impersonation_chain=list(route.impersonation_chain) or None
    )
    with _explained(route.gcp_conn_id, hook.extras):
        credentials = hook.get_credentials()
        quota_project = _field(hook.extras, "quota_project_id")
        if quota_project and hasattr(
            credentials, "with_quota_project"
        ):  # older versions of the hook leave it out
            credentials = credentials.with_quota_project(quota_project)
    return PubSubAccess(credentials=credentials, endpoint=_endpoint(route, hook.extras))


def _endpoint(route: PubSubRoute, extra: Mapping[str, object]) -> str | None:
    named = route.endpoint or _field(extra, "pubsub_endpoint")
    if named:
        return checked_endpoint(str(named), field=f"gcp_conn_id: {route.gcp_conn_id!r}: pubsub_endpoint")
    universe = os.environ.get(_UNIVERSE_VARIABLE)
    return f"pubsub.{universe}" if universe else None


def _field(extra: Mapping[str, object], name: str) -> object:
    return extra.get(name) or extra.get(f"extra__google_cloud_platform__{name}")


@contextmanager
def _explained(gcp_conn_id: str, extra: Mapping[str, object]) -> Iterator[None]:
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (AirflowException, GoogleAuthError, OSError, ValueError, KeyError) as error:
        named = [name for name in _REMEDIES if _field(extra, name)]
        if "quota_project" not in str(error) and "quota_project_id" in named:
            named.remove("quota_project_id")
        where = f"{named[0]}: " if named else ""
        remedy = (
            _REMEDIES[named[0]]
            if named
            else ("set key_path or keyfile_dict in the connection, or give this machine a service account")
        )
        raise ContractError(
            "gcp_conn_id", f"{gcp_conn_id!r}: {where}no usable credentials: {error}; {remedy}"
        ) from error


def _project_of(environ: Mapping[str, str]) -> str | None:
    return next((environ[name] for name in _PROJECT_VARIABLES if environ.get(name)), None)


def _project_of_connection(route: PubSubRoute) -> str | None:
    if os.environ.get(EMULATOR_VARIABLE):
        try:
            extra = BaseHook.get_connection(route.gcp_conn_id).extra_dejson
        except AirflowNotFoundException:
            return None
        project = _field(extra, "project")
        return str(project) if project else None
    from airflow.providers.google.common.hooks.base_google import PROVIDE_PROJECT_ID, GoogleBaseHook

    hook = GoogleBaseHook(
        gcp_conn_id=route.gcp_conn_id, impersonation_chain=list(route.impersonation_chain) or None
    )
    with _explained(route.gcp_conn_id, hook.extras):
        project = hook.project_id
    return None if project == PROVIDE_PROJECT_ID else project
