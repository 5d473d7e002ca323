"""The button on a task's page that leads to its call at the service: how far it is, its log, its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from longcall.airflow.record import CALL_XCOM_KEY
from longcall.airflow.version_compat import BaseOperatorLink, XCom

__all__ = ["CallLink"]


class CallLink(BaseOperatorLink):
    """Leads to the status resource, which services of this package show as a page to a browser.

    Empty, and so not to be clicked, before the call is started and for a service without one.
    """

    name: ClassVar[str] = "Call"

    def get_link(self, operator: object, *, ti_key: Any) -> str:
        """Return the address that the service gave when it accepted the call."""
        call = XCom.get_value(ti_key=ti_key, key=CALL_XCOM_KEY)
        location = str(call.get("location", "")) if isinstance(call, Mapping) else ""
        return location if location.startswith(("http://", "https://")) else ""
