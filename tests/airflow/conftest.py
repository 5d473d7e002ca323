"""One real Airflow, broker and service for all tests of this folder; starting them is what takes time."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from tests.e2e.google_accounts import GoogleAccounts, running_google

from longcall.cli.stack import LocalStack
from longcall.cli.stack.ports import free_ports
from longcall.contract import JsonValue

HERE = Path(__file__).parent
PROJECT = "tests"
WATCHER = "tests-watcher"
ARTICLE_PORT, COMMAND_PORT, LOCKED_PORT = free_ports(3)
CALLS_CONNECTION: dict[str, JsonValue] = {
    "conn_type": "longcall",
    "password": "a-signing-secret-of-the-tests",
    "extra": json.dumps({"topic": "reports", "http_conn_id": "locked", "signing": "required"}),
}

logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each look at a run buries what failed


@pytest.fixture(scope="session")
def google() -> Iterator[GoogleAccounts]:
    with running_google() as running:
        yield running


@pytest.fixture(scope="session")
def paused_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `pausing.py` says what has paused, and is told to go on."""
    return tmp_path_factory.mktemp("paused")


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, paused_folder: Path, google: GoogleAccounts
) -> Iterator[LocalStack]:
    (paused_folder / "results").mkdir()
    environment = {
        "PAUSED_FOLDER": str(paused_folder),
        "CANCELLATIONS": str(paused_folder / "cancellations"),
        "PYTHONPATH": str(HERE),
        "AIRFLOW_CONN_SERVICE": "{service_url}",
        "AIRFLOW_CONN_ARTICLE": f"http://127.0.0.1:{ARTICLE_PORT}",
        "AIRFLOW_CONN_COMMAND": f"http://127.0.0.1:{COMMAND_PORT}",
        "AIRFLOW_CONN_LOCKED": json.dumps(
            {
                "conn_type": "http",
                "host": f"http://127.0.0.1:{LOCKED_PORT}",
                "extra": {"auth": "google-id-token"},
            }
        ),
        "AIRFLOW_CONN_CALLS": json.dumps(CALLS_CONNECTION),
        "GCE_METADATA_HOST": google.address,
        "GCE_METADATA_IP": google.address,
        "CLOUDSDK_CONFIG": str(HERE),  # there is nothing of gcloud
        "AIRFLOW_CONN_BAD_URL": "http://no%20such%20host",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform", '
        '"extra": {"is_anonymous": true, "project": "tests"}}',
        "GCP_TOPIC": "reports",
        "LONGCALL_REPLY_TOPICS": f"projects/{PROJECT}/topics/lc-*",
        "RESULTS_FOLDER": str(paused_folder / "results"),
        "PORT": str(ARTICLE_PORT),
    }
    with LocalStack(
        dags_folder=HERE / "dags",
        airflow_python=request.config.getoption("--airflow-python"),
        service="services:service",
        project=PROJECT,
        topic="reports",
        env=environment,
        airflow_config={
            "CORE__TEST_CONNECTION": "Enabled",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
            "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "45",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        },
    ) as running:
        yield running


@pytest.fixture
def cancellations(paused_folder: Path) -> Callable[[], Counter[str]]:
    """Counts how often the service was asked to cancel which call, over the whole session."""

    def count() -> Counter[str]:
        noted = paused_folder / "cancellations"
        paths = noted.read_text().splitlines() if noted.exists() else []
        return Counter(path.rpartition("/")[2] for path in paths)

    return count


@pytest.fixture(scope="session")
def article_service(stack: LocalStack) -> None:
    stack.start_component(
        "article-service", sys.executable, str(HERE / "article_service.py"), port=ARTICLE_PORT
    )


class Subscriptions:
    """The broker's subscriptions, as a client sees them."""

    def __init__(self, host: str) -> None:
        self._channel = grpc.insecure_channel(host)
        transport = SubscriberGrpcTransport(channel=self._channel, credentials=AnonymousCredentials())
        self._client = SubscriberClient(transport=transport)

    def names(self) -> set[str]:
        listed = self._client.list_subscriptions(project=f"projects/{PROJECT}")
        return {subscription.name.rpartition("/")[2] for subscription in listed} - {WATCHER}

    def is_watched(self) -> bool:
        """Tell whether the asset watcher of `dags/faces.py`, which runs all the time, has begun."""
        path = f"projects/{PROJECT}/subscriptions/{WATCHER}"
        return path in {s.name for s in self._client.list_subscriptions(project=f"projects/{PROJECT}")}

    def topics(self) -> set[str]:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        return {
            topic.name.rpartition("/")[2] for topic in publisher.list_topics(project=f"projects/{PROJECT}")
        }

    def empty(self, path: str) -> None:
        """Lose what is in a subscription."""
        while received := self._client.pull(subscription=path, max_messages=100, timeout=5).received_messages:
            self._client.acknowledge(subscription=path, ack_ids=[message.ack_id for message in received])

    def publish(self, topic: str, data: bytes, **attributes: str) -> None:
        """Publish, as anybody may."""
        path = f"projects/{PROJECT}/topics/{topic}"
        message = {"data": data, "attributes": attributes}
        PublisherClient(transport=PublisherGrpcTransport(channel=self._channel)).publish(
            request={"topic": path, "messages": [message]}
        )

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def subscriptions(stack: LocalStack) -> Iterator[Subscriptions]:
    listing = Subscriptions(stack.pubsub_host)
    yield listing
    listing.close()
