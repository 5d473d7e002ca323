"""The DAG in the pictures of the docs."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from longcall.airflow import LongCallOperator

with DAG("train_models"):
    LongCallOperator(
        task_id="train",
        http_conn_id="digits",
        endpoint="/train",
        topic="completions",
        data={"model": "random forest", "step_s": 1.5},
    )
