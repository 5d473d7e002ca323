"""The article's DAG: stock operators only, in front of a longcall service."""

from __future__ import annotations

import uuid

from airflow.providers.common.compat.standard.operators import PythonOperator
from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
from airflow.providers.google.cloud.operators.pubsub import PubSubDeleteSubscriptionOperator
from airflow.providers.google.cloud.sensors.pubsub import PubSubPullSensor
from airflow.providers.http.operators.http import HttpOperator
from dag_names import DAG

PROJECT = "tests"


def create_subscription() -> str:
    name = f"airflow-test-{uuid.uuid4()}"
    return PubSubHook().create_subscription(
        project_id=PROJECT,
        topic="reports",
        subscription=name,
        expiration_policy={"ttl": {"seconds": 24 * 60 * 60}},
        message_retention_duration={"seconds": 24 * 60 * 60},
        labels={"source": "dag"},
        filter_=f'attributes.correlid = "{name}"',
    )


with DAG("article"):
    create = PythonOperator(task_id="CreateSubscription", python_callable=create_subscription)
    invoke = HttpOperator(
        task_id="InvokeREST",
        http_conn_id="service",
        endpoint="/echo?correlid={{ ti.xcom_pull('CreateSubscription') }}",
        method="POST",
    )
    wait = PubSubPullSensor(
        task_id="WaitForCompletion",
        project_id=PROJECT,
        subscription="{{ ti.xcom_pull('CreateSubscription') }}",
        max_messages=1,
        poke_interval=1,
    )
    delete = PubSubDeleteSubscriptionOperator(
        task_id="DeleteSubscription",
        project_id=PROJECT,
        subscription="{{ ti.xcom_pull('CreateSubscription') }}",
    )
    create >> invoke >> wait >> delete
