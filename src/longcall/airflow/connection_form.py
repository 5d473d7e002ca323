"""The form of a `longcall` connection: one list of fields, in the two forms that Airflow asks for.

Airflow 3.2 and newer read it from the provider's description, older ones from two methods of the hook. The
description is read while Airflow itself is being imported, so nothing is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "CONNECTION_FIELDS",
    "DEFAULT_GCP_CONN_ID",
    "DEFAULT_HTTP_CONN_ID",
    "FIELDS",
    "INBOX_POLICIES",
    "SIGNING",
    "FormField",
    "conn_fields",
    "field_behaviour",
    "form_widgets",
]

DEFAULT_HTTP_CONN_ID: Final = "http_default"
DEFAULT_GCP_CONN_ID: Final = "google_cloud_default"
INBOX_POLICIES: Final = ("per_call", "shared", "per_call_topic")
SIGNING: Final = ("auto", "required", "off")

_HIDDEN: Final = ("host", "schema", "port", "login", "extra")
_RELABELED: Final = {"password": "Signing secret"}
_PLACEHOLDERS: Final = {"password": "at least 24 characters; while it changes NEW,OLD; empty: the fernet_key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field of the extra.

    Attributes:
        name: in the extra.
        label: what people see.
        description: what to write, and what an empty one means.
        choices: the words that are allowed; empty: any text.
    """

    name: str
    label: str
    description: str
    choices: tuple[str, ...] = ()


FIELDS: Final = (
    FormField(
        name="topic",
        label="Topic",
        description="Pub/Sub topic where services publish: an id, or projects/PROJECT/topics/ID",
    ),
    FormField(
        name="project",
        label="Project id",
        description="Project of topic and inboxes; empty: the Google connection's",
    ),
    FormField(
        name="inbox_policy",
        label="Inbox policy",
        description=f"Where answers arrive; empty: {INBOX_POLICIES[0]}",
        choices=INBOX_POLICIES,
    ),
    FormField(
        name="inbox",
        label="Inbox",
        description="Name of the shared inbox, unique to this deployment; only with the policy shared",
    ),
    FormField(
        name="signing",
        label="Signed reports",
        description="auto: of services that can; required: other services are not called; empty: auto",
        choices=SIGNING,
    ),
    FormField(
        name="http_conn_id",
        label="HTTP connection",
        description=f"Connection to the service; empty: {DEFAULT_HTTP_CONN_ID}",
    ),
    FormField(
        name="gcp_conn_id",
        label="Google connection",
        description=f"Connection for Pub/Sub; empty: {DEFAULT_GCP_CONN_ID}",
    ),
    FormField(
        name="impersonation_chain",
        label="Impersonation chain",
        description="Service account that uses Pub/Sub, or the way to it, with commas",
    ),
    FormField(
        name="pubsub_endpoint",
        label="Pub/Sub endpoint",
        description="host or host:port, e.g. europe-west1-pubsub.googleapis.com; empty: the global one",
    ),
)

CONNECTION_FIELDS: Final = tuple(field.name for field in FIELDS)
"""What the extra of a `longcall` connection may hold; the signing secret is its password."""


def conn_fields() -> dict[str, object]:
    """Return the fields as `conn-fields` of the provider's description (Airflow 3.2 and newer)."""
    return {field.name: _conn_field(field) for field in FIELDS}


def field_behaviour() -> dict[str, object]:
    """Return what becomes of Airflow's own fields, as the hook's `get_ui_field_behaviour`."""
    return {
        "hidden_fields": list(_HIDDEN),
        "relabeling": dict(_RELABELED),
        "placeholders": dict(_PLACEHOLDERS),
    }


def form_widgets() -> dict[str, Any]:
    """Return the fields as the hook's `get_connection_form_widgets` (before Airflow 3.2)."""
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import StringField
    from wtforms.validators import Optional, any_of

    return {
        field.name: StringField(
            lazy_gettext(field.label),
            widget=BS3TextFieldWidget(),
            description=field.description,
            validators=[Optional(), any_of(list(field.choices))] if field.choices else [Optional()],
        )
        for field in FIELDS
    }


def _conn_field(field: FormField) -> dict[str, object]:
    schema: dict[str, object] = {"type": ["string", "null"]}
    if field.choices:
        schema["enum"] = list(field.choices)
    return {"label": field.label, "description": field.description, "schema": schema}
