"""What Airflow asks a provider package about itself."""

from __future__ import annotations

from typing import Final

from longcall import __version__
from longcall.airflow.connection_form import conn_fields, field_behaviour

__all__ = ["get_provider_info"]

_CONFIG: Final[dict[str, object]] = {
    "description": "How triggerers treat what arrives in a shared inbox.",
    "options": {
        "set_aside_after_hours": {
            "description": "A completion that no task has claimed for so long is set aside.",
            "version_added": "0.1.0",
            "type": "float",
            "example": "48",
            "default": "24",
        },
        "dead_letter_topic": {
            "description": "Full path of the topic where what is set aside is published, with the reason. "
            "Empty: it stays in the inbox until its retention ends, as the log says.",
            "version_added": "0.1.0",
            "type": "string",
            "example": "projects/my-project/topics/completions-dead",
            "default": "",
        },
    },
}


def get_provider_info() -> dict[str, object]:
    """Return the provider's description, after Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "longcall",
        "name": "longcall",
        "description": "Call services that work for minutes to days, over Google Pub/Sub, holding no worker.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "longcall",
                "external-doc-url": "https://pypi.org/project/longcall/",
                "tags": ["service"],
            }
        ],
        "operators": _modules("decorator", "operator", "sweep", "task_group"),
        "sensors": _modules("sensor"),
        "task-decorators": [
            {"name": "long_call", "class-name": "longcall.airflow.decorator.long_call_task"},
        ],
        "config": {"longcall": _CONFIG},
        "hooks": _modules("hook"),
        "connection-types": [
            {
                "connection-type": "longcall",
                "hook-class-name": "longcall.airflow.hook.LongCallHook",
                "hook-name": "longcall",
                "conn-fields": conn_fields(),
                "ui-field-behaviour": {
                    name.replace("_", "-"): value for name, value in field_behaviour().items()
                },
            }
        ],
        "extra-links": ["longcall.airflow.link.CallLink"],
        "triggers": _modules("status_trigger", "trigger", "watcher"),
    }


def _modules(*names: str) -> list[dict[str, object]]:
    modules = [f"longcall.airflow.{name}" for name in names]
    return [{"integration-name": "longcall", "python-modules": modules}]
