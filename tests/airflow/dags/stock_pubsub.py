"""Airflow's own Pub/Sub pieces, all of them, against the embedded broker: nothing of longcall is in here."""

from __future__ import annotations

import asyncio
import inspect

from airflow.providers.common.compat.standard.operators import PythonOperator
from airflow.providers.google.cloud.hooks.pubsub import PubSubAsyncHook, PubSubHook
from airflow.providers.google.cloud.operators.pubsub import (
    PubSubCreateSubscriptionOperator,
    PubSubCreateTopicOperator,
    PubSubDeleteSubscriptionOperator,
    PubSubDeleteTopicOperator,
    PubSubPublishMessageOperator,
    PubSubPullOperator,
)
from airflow.providers.google.cloud.sensors.pubsub import PubSubPullSensor
from dag_names import DAG

HERE = {"project_id": "tests"}
TOPIC = "stock"
ARGUMENTS = inspect.signature(PubSubCreateSubscriptionOperator.__init__).parameters
RETRY_POLICY = "retry_policy" if "retry_policy" in ARGUMENTS else "message_retry_policy"
READERS = {"pull": "me", "sensor": "me", "async": "me", "deferred": "late"}


def texts(messages: list, _context: object) -> list[str]:
    return sorted(received.message.data.decode() for received in messages)


def use_hook() -> list[str]:
    hook = PubSubHook()
    hook.create_subscription(
        topic=TOPIC, subscription="stock-hook", filter_='attributes.for = "hook"', **HERE
    )
    messages = [{"data": b"mine", "attributes": {"for": "hook"}}, {"data": b"no"}]
    hook.publish(topic=TOPIC, messages=messages, **HERE)
    received = hook.pull(subscription="stock-hook", max_messages=5, return_immediately=True, **HERE)
    hook.acknowledge(subscription="stock-hook", messages=received, **HERE)
    hook.delete_subscription(subscription="stock-hook", **HERE)
    return [each.message.data.decode() for each in received]


def use_async_hook() -> list[str]:
    async def use() -> list[str]:
        hook = PubSubAsyncHook(project_id="tests")
        received = await hook.pull(
            subscription="stock-async", max_messages=5, return_immediately=True, **HERE
        )
        await hook.acknowledge(subscription="stock-async", messages=received, **HERE)
        return [each.message.data.decode() for each in received]

    return asyncio.run(use())


with DAG("stock_pubsub"):
    create_topic = PubSubCreateTopicOperator(
        task_id="create_topic", topic=TOPIC, labels={"team": "data"}, fail_if_exists=True, **HERE
    )
    create = [
        PubSubCreateSubscriptionOperator(
            task_id=f"create_{name}",
            topic=TOPIC,
            subscription=f"stock-{name}",
            filter_=f'attributes.for = "{reader}"',
            ack_deadline_secs=30,
            expiration_policy={"ttl": {"seconds": 86400}},
            message_retention_duration={"seconds": 86400},
            **{RETRY_POLICY: {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 9}}},
            dead_letter_policy={"dead_letter_topic": "projects/tests/topics/reports"},
            retain_acked_messages=True,
            enable_message_ordering=True,
            fail_if_exists=True,
            **HERE,
        )
        for name, reader in READERS.items()
    ]
    publish = PubSubPublishMessageOperator(
        task_id="publish",
        topic=TOPIC,
        messages=[{"data": b"mine", "attributes": {"for": "me"}}, {"data": b"no"}],
        **HERE,
    )
    pulled = PubSubPullOperator(
        task_id="pull", subscription="stock-pull", ack_messages=True, messages_callback=texts, **HERE
    )
    sensed = PubSubPullSensor(
        task_id="sensor",
        subscription="stock-sensor",
        ack_messages=True,
        messages_callback=texts,
        poke_interval=1,
        **HERE,
    )
    deferred = PubSubPullSensor(
        task_id="deferred",
        subscription="stock-deferred",
        ack_messages=True,
        messages_callback=texts,
        poke_interval=1,
        deferrable=True,
        **HERE,
    )
    by_hook = PythonOperator(task_id="hook", python_callable=use_hook)
    by_async_hook = PythonOperator(task_id="async_hook", python_callable=use_async_hook)
    delete = [
        PubSubDeleteSubscriptionOperator(
            task_id=f"delete_{name}", subscription=f"stock-{name}", fail_if_not_exists=True, **HERE
        )
        for name in READERS
    ]
    delete_topic = PubSubDeleteTopicOperator(
        task_id="delete_topic", topic=TOPIC, fail_if_not_exists=True, **HERE
    )
    readers = [pulled, sensed, by_async_hook, deferred]
    create_topic >> create >> publish >> [pulled, sensed, by_hook, by_async_hook]
    create >> deferred  # the test publishes what it waits for
    [*readers, by_hook] >> delete_topic
    for reader, gone in zip(readers, delete, strict=True):
        reader >> gone
