"""The one file that knows Airflow's versions and where each keeps its names.

Everything else in this room imports Airflow's names from here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from airflow.sdk import (
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        PokeReturnValue,
        TaskGroup,
        XComArg,
    )
    from airflow.sdk.bases.decorator import (
        DecoratedOperator,
        TaskDecorator,
        determine_kwargs,
        task_decorator_factory,
    )
    from airflow.sdk.definitions.context import context_merge
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
    )
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.sdk.observability.stats import Stats
else:
    from airflow.providers.common.compat.sdk import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        DecoratedOperator,
        PokeReturnValue,
        Stats,
        TaskDecorator,
        TaskGroup,
        XCom,
        XComArg,
        context_merge,
        determine_kwargs,
        task_decorator_factory,
    )
from airflow.triggers import base as triggers
from airflow.triggers.base import BaseTrigger, TriggerEvent

from longcall.airflow.in_thread import in_thread
from longcall.contract import JsonValue

__all__ = [
    "HAS_ASSET_WATCHERS",
    "LATER_TRIES_REMEMBER",
    "STORES_BEFORE_EVENTS",
    "TRIGGER_HAS_ON_KILL",
    "AdvanceItem",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSkipException",
    "BaseEventTrigger",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "Context",
    "DecoratedOperator",
    "PokeReturnValue",
    "SharedStreamProducer",
    "Stats",
    "TaskDecorator",
    "TaskGroup",
    "TaskKey",
    "TriggerEvent",
    "XCom",
    "XComArg",
    "context_merge",
    "determine_kwargs",
    "fernet_key",
    "load_across_tries",
    "load_xcom",
    "longcall_setting",
    "mask_secret",
    "read_xcom",
    "run_exists",
    "store_across_tries",
    "store_xcom",
    "task_decorator_factory",
    "task_is_deferred",
    "task_state",
]

_VERSION = tuple(int(part) for part in importlib.metadata.version("apache-airflow").split(".")[:2])

if TYPE_CHECKING or _VERSION >= (3, 3):
    from airflow.triggers.base import BaseEventTrigger
    from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer
else:
    BaseEventTrigger = getattr(triggers, "BaseEventTrigger", BaseTrigger)
    AdvanceItem = tuple
    SharedStreamProducer = object

HAS_ASSET_WATCHERS = _VERSION >= (3, 0)

TRIGGER_HAS_ON_KILL = _VERSION >= (3, 3)
"""Before 3.3 a trigger learns of a kill only by being cancelled, as it is for every other reason."""

LATER_TRIES_REMEMBER = _VERSION >= (3, 3)
"""Before 3.3 nothing that a try stores survives the task's next try or clear."""

STORES_BEFORE_EVENTS = hasattr(XCom, "aset")
"""From 3.3 on a trigger's request is written to the triggerer's one pipe at once, and handled in its turn: an
XCom that a trigger has begun to store is stored before an event that it yields afterwards is read."""


_MASKERS = (
    "airflow.sdk.log",
    "airflow.sdk.execution_time.secrets_masker",
    "airflow.utils.log.secrets_masker",
)
"""Homes of `mask_secret`: from 3.1 on, in 3.0, in 2.11."""


class TaskKey(Protocol):
    """What names a task instance; each version's trigger has another type for it."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int


def fernet_key() -> str:
    """Return the secret that all workers of a deployment share, as a rule; empty where they do not.

    While one takes another's place it is `NEW,OLD`.
    """
    from airflow.configuration import conf  # not at the top: it is what loads the providers

    return str(conf.get("core", "fernet_key", fallback=""))


def mask_secret(secret: str) -> None:
    """Keep a secret out of logs from now on, in this process and in the one that writes its log."""
    for home in _MASKERS:
        try:
            mask = importlib.import_module(home).mask_secret
        except (ImportError, AttributeError):
            continue
        mask(secret)
        return


def longcall_setting(name: str) -> str:
    """Return an option of section `[longcall]`, empty where it is not set."""
    from airflow.configuration import conf  # not at the top: it is what loads the providers

    return str(conf.get("longcall", name, fallback=""))


def store_across_tries(context: Context, key: str, value: Mapping[str, JsonValue]) -> None:
    """Keep something for the task's later tries, cleared ones too. Nothing before Airflow 3.3."""
    store = context.get("task_state_store")
    if store is not None:
        store.set(key, cast("Any", dict(value)))


def load_across_tries(context: Context, key: str) -> JsonValue:
    """Return what an earlier try has kept; None: nothing, or Airflow is older than 3.3."""
    store = context.get("task_state_store")
    return None if store is None else cast("JsonValue", store.get(key))


async def store_xcom(task: TaskKey, key: str, value: Mapping[str, JsonValue]) -> None:
    """Store an XCom from a trigger; once this returns, it is in the metadata database (or XCom backend).

    A repeat overwrites.
    """
    named: dict[str, Any] = {"key": key, "value": dict(value), **_names(task)}
    await (XCom.aset(**named) if hasattr(XCom, "aset") else in_thread(XCom.set, **named))


def read_xcom(key: str, *, dag_id: str, run_id: str, task_id: str, map_index: int) -> JsonValue:
    """Return an XCom of any task from a worker; None when there is none."""
    value: JsonValue = XCom.get_one(
        key=key, dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index
    )
    return value


async def load_xcom(task: TaskKey, key: str) -> JsonValue:
    """Return a task's own XCom from a trigger; None when there is none."""
    named: dict[str, Any] = {"key": key, **_names(task)}
    value: JsonValue = await (
        XCom.aget_one(**named) if hasattr(XCom, "aget_one") else in_thread(XCom.get_one, **named)
    )
    return value


async def task_is_deferred(task: TaskKey) -> bool:
    """Tell from a trigger whether its task instance is deferred: by this trigger, or by a later try."""
    state = await in_thread(task_state, **_names(task))
    return state == "deferred"


def _names(task: TaskKey) -> dict[str, Any]:
    return {
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
    }


def task_state(*, dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """Return the state of any task instance, from a worker or a thread of the triggerer.

    None: it has none yet, or does not exist.
    """
    if _VERSION < (3, 0):
        return _state_in_database(dag_id, run_id, task_id, map_index)
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=[task_id], run_ids=[run_id], map_index=map_index
    )
    # A mapped task's state is keyed `task_id` or `task_id_mapindex`, by version; only one was asked for.
    found = next(iter(states.get(run_id, {}).values()), None)
    return None if found is None else str(found)


def run_exists(dag_id: str, run_id: str) -> bool:
    """Tell from a worker whether there is a DAG run."""
    if _VERSION < (3, 0):
        return _run_in_database(dag_id, run_id)
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return RuntimeTaskInstance.get_dr_count(dag_id=dag_id, run_ids=[run_id]) > 0


def _run_in_database(dag_id: str, run_id: str) -> bool:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        wanted = select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        return session.scalar(wanted) is not None


def _state_in_database(dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """Airflow 2's worker and triggerer have the database at hand; Airflow 3's have not, and ask as above."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        state: str | None = session.scalar(
            select(TaskInstance.state).where(
                TaskInstance.dag_id == dag_id,
                TaskInstance.run_id == run_id,
                TaskInstance.task_id == task_id,
                TaskInstance.map_index == map_index,
            )
        )
        return state
