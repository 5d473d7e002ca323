"""The hook of `longcall` connections: what they say, their form, and their Test button."""

from __future__ import annotations

from typing import Any, ClassVar

from longcall._core.errors import LongcallError
from longcall.airflow.connection_checks import Finding, check_pubsub, check_service, told
from longcall.airflow.connection_form import field_behaviour, form_widgets
from longcall.airflow.connections import find_longcall_connection
from longcall.airflow.settings import InboxChoice, LongCallConnection, settle_inbox, settle_service
from longcall.airflow.version_compat import BaseHook

__all__ = ["LongCallHook"]


class LongCallHook(BaseHook):
    """A `longcall` connection: topic, inbox policy, signing, and the connections to service and Pub/Sub.

    Args:
        longcall_conn_id: the connection.
    """

    conn_name_attr: ClassVar[str] = "longcall_conn_id"
    default_conn_name: ClassVar[str] = "longcall_default"
    conn_type: ClassVar[str] = "longcall"
    hook_name: ClassVar[str] = "longcall"

    def __init__(self, longcall_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longcall_conn_id = longcall_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields, for Airflow before 3.2."""
        return form_widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what becomes of Airflow's own fields, for Airflow before 3.2."""
        return field_behaviour()

    def get_conn(self) -> LongCallConnection:
        """Return what the connection says.

        Raises:
            AirflowNotFoundException: there is none of this name.
            ContractError: it cannot be used; names the field.
        """
        return find_longcall_connection(self.longcall_conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Try what a call needs: an inbox on the topic, made, read and deleted again, and the service.

        A shared inbox is created if it is not there yet, and stays. Takes seconds, a minute at most.
        """
        try:
            connection = find_longcall_connection(self.longcall_conn_id, strict=True)
            inbox = settle_inbox(InboxChoice(), connection)
            service = settle_service(http_conn_id=None, signing=None, connection=connection)
        except LongcallError as error:
            return told([Finding("connection", False, str(error))])
        return told([*check_pubsub(inbox), *check_service(service.http_conn_id)])
