"""What the DAG files in `dags/` are written with: the same on every Airflow from 2.11 on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG as AirflowDag
from airflow.providers.common.compat.sdk import task

__all__ = ["DAG", "task"]


def DAG(dag_id: str, **kwargs: Any) -> Any:
    """Make a DAG that runs when it is told to; Airflow 2 wants both said."""
    return AirflowDag(dag_id, **({"schedule": None, "start_date": datetime(2026, 1, 1, tzinfo=UTC)} | kwargs))
