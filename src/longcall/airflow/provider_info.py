"""What Airflow asks a provider package about itself."""

from __future__ import annotations

from longcall import __version__
from longcall.airflow.connection_form import conn_fields, field_behaviour

__all__ = ["get_provider_info"]


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
        "operators": [
            {
                "integration-name": "longcall",
                "python-modules": [
                    "longcall.airflow.decorator",
                    "longcall.airflow.operator",
                    "longcall.airflow.sweep",
                    "longcall.airflow.task_group",
                ],
            }
        ],
        "sensors": [{"integration-name": "longcall", "python-modules": ["longcall.airflow.sensor"]}],
        "task-decorators": [
            {"name": "long_call", "class-name": "longcall.airflow.decorator.long_call_task"},
        ],
        "config": {
            "longcall": {
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
                        "description": "Full path of the topic where what is set aside is published, with "
                        "the reason. Empty: it stays in the inbox until its retention ends, as the log says.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "projects/my-project/topics/completions-dead",
                        "default": "",
                    },
                },
            }
        },
        "hooks": [{"integration-name": "longcall", "python-modules": ["longcall.airflow.hook"]}],
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
        "triggers": [
            {
                "integration-name": "longcall",
                "python-modules": [
                    "longcall.airflow.status_trigger",
                    "longcall.airflow.trigger",
                    "longcall.airflow.watcher",
                ],
            }
        ],
    }
