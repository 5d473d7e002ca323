"""Calls that say nothing of topic, inbox, service or signing: one connection does."""

from __future__ import annotations

from dag_names import DAG

from longcall.airflow import LongCallOperator, LongCallTaskGroup

CALLS = {"longcall_conn_id": "{{ 'calls' }}", "endpoint": "/echo", "data": {"delay_s": 2}}

with DAG("connected"):
    LongCallOperator(task_id="call", **CALLS)
    LongCallTaskGroup("steps", **CALLS)

with DAG("connected_held"):
    LongCallOperator(task_id="call", longcall_conn_id="calls", endpoint="/held")
