"""A whole longcall on one machine: broker, service and a real Airflow as child processes.

The demo, the tests of the Airflow room and the benchmarks all run on it.
"""

from longcall.cli.stack.airflow_api import AirflowApi, RunState, Slots, TaskInstance
from longcall.cli.stack.airflow_env import AirflowLogin
from longcall.cli.stack.component import Component
from longcall.cli.stack.errors import ComponentFailed, StackError, StackTimeout
from longcall.cli.stack.local import LocalStack

__all__ = [
    "AirflowApi",
    "AirflowLogin",
    "Component",
    "ComponentFailed",
    "LocalStack",
    "RunState",
    "Slots",
    "StackError",
    "StackTimeout",
    "TaskInstance",
]
