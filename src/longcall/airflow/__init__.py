"""The Airflow provider: operator, task group, triggers. The only room that imports Airflow.

Names are imported when they are first used: Airflow imports this package for `provider_info` while it reads
its own configuration, when most of Airflow cannot be imported yet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from longcall.airflow.operator import LongCallOperator
    from longcall.airflow.sensor import LongCallSensor
    from longcall.airflow.sweep import LongCallSweepOperator
    from longcall.airflow.task_group import (
        CreateInboxOperator,
        DeleteInboxOperator,
        LongCallTaskGroup,
        StartCallOperator,
        WaitForCompletionOperator,
    )
    from longcall.airflow.trigger import CompletionTrigger
    from longcall.airflow.watcher import ServiceCompletionsTrigger

__all__ = [
    "CompletionTrigger",
    "CreateInboxOperator",
    "DeleteInboxOperator",
    "LongCallOperator",
    "LongCallSensor",
    "LongCallSweepOperator",
    "LongCallTaskGroup",
    "ServiceCompletionsTrigger",
    "StartCallOperator",
    "WaitForCompletionOperator",
]

_HOMES: Final = {
    "CompletionTrigger": "trigger",
    "CreateInboxOperator": "task_group",
    "DeleteInboxOperator": "task_group",
    "LongCallOperator": "operator",
    "LongCallSensor": "sensor",
    "LongCallSweepOperator": "sweep",
    "LongCallTaskGroup": "task_group",
    "ServiceCompletionsTrigger": "watcher",
    "StartCallOperator": "task_group",
    "WaitForCompletionOperator": "task_group",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
