"""The Airflow provider: operator, task group, triggers. The only room that imports Airflow."""

from longcall.airflow.operator import LongCallOperator
from longcall.airflow.task_group import (
    CreateInboxOperator,
    DeleteInboxOperator,
    LongCallTaskGroup,
    StartCallOperator,
    WaitForCompletionOperator,
)
from longcall.airflow.trigger import CompletionTrigger

__all__ = [
    "CompletionTrigger",
    "CreateInboxOperator",
    "DeleteInboxOperator",
    "LongCallOperator",
    "LongCallTaskGroup",
    "StartCallOperator",
    "WaitForCompletionOperator",
]
