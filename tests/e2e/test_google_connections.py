"""The Google connection, read by Airflow's own hook, on its way to a Pub/Sub over TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.pubsub_v1.types import Subscription
from tests.e2e.google_accounts import GoogleAccounts, running_google
from tests.e2e.processes import WAIT_S
from tests.e2e.self_signed import self_signed

from longcall.airflow.connections import PubSubAccess, find_access, resolve_project
from longcall.airflow.route import PubSubRoute
from longcall.contract import ContractError

KEYED = "keyed@my-project.iam.gserviceaccount.com"
BETWEEN = "between@my-project.iam.gserviceaccount.com"
TARGET = "target@other-project.iam.gserviceaccount.com"


@dataclass
class SecurePubSub:
    """Takes every subscription over TLS, and notes who asks.

    Attributes:
        address: host and port.
        certificate: file of what a client must trust.
        asked: of each request, the name that is asked for and its metadata.
    """

    address: str
    certificate: Path
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def pubsub(tmp_path: Path) -> Iterator[SecurePubSub]:
    pem, certificate = self_signed()
    trusted = tmp_path / "roots.pem"
    trusted.write_bytes(certificate)
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, certificate)]))
    running = SecurePubSub(f"localhost:{port}", trusted)

    def create(request: Subscription, context: grpc.ServicerContext) -> Subscription:
        running.asked.append(
            (request.name, {key: str(value) for key, value in context.invocation_metadata()})
        )
        return request

    handler = grpc.unary_unary_rpc_method_handler(
        create, request_deserializer=Subscription.deserialize, response_serializer=Subscription.serialize
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", {"CreateSubscription": handler})]
    )
    server.start()
    try:
        yield running
    finally:
        server.stop(None).wait()


@pytest.fixture
def google() -> Iterator[GoogleAccounts]:
    with running_google() as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "PUBSUB_EMULATOR_HOST",
        "GOOGLE_CLOUD_PROJECT",
        "GCP_PROJECT",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))


def connection(monkeypatch: pytest.MonkeyPatch, **extra: object) -> None:
    value = {"conn_type": "google_cloud_platform", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE", json.dumps(value))


def reach(pubsub: SecurePubSub, google: GoogleAccounts, *chain: str) -> tuple[str, dict[str, str]]:
    """Let a process create an inbox, and return what was asked for, and the metadata."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.reach_pubsub", *chain],
        env={
            **os.environ,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(pubsub.certificate),
            "FAKE_IAM": google.url,
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return pubsub.asked[-1]


def test_key_quota_project_and_endpoint_of_the_connection(
    pubsub: SecurePubSub, google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(
        monkeypatch,
        keyfile_dict=json.dumps(google.key_info(KEYED)),
        quota_project_id="billed-project",
        pubsub_endpoint=pubsub.address,
    )

    name, metadata = reach(pubsub, google)

    assert name == "projects/my-project/subscriptions/inbox"
    assert metadata["authorization"] == f"Bearer access {KEYED}"
    assert metadata["x-goog-user-project"] == "billed-project"


def test_chain_of_the_task_leads_to_the_account_that_asks(
    pubsub: SecurePubSub, google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    google.grants = {BETWEEN: {KEYED}, TARGET: {BETWEEN}}
    connection(monkeypatch, key_path=str(google.key_file(tmp_path, KEYED)), impersonation_chain=KEYED)
    monkeypatch.setenv("ENDPOINT", pubsub.address)

    name, metadata = reach(pubsub, google, BETWEEN, TARGET)

    assert name == "projects/other-project/subscriptions/inbox"
    assert metadata["authorization"] == f"Bearer access {TARGET}"
    assert ("access", TARGET) in google.asked


def test_chain_of_the_connection_counts_where_the_task_has_none(
    google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(
        monkeypatch,
        keyfile_dict=google.key_info(KEYED),
        project="my-own",
        impersonation_chain=f"{BETWEEN},{TARGET}",
    )

    access = find_access(PubSubRoute("google"))

    assert access.credentials is not None
    assert access.credentials.signer_email == TARGET
    assert resolve_project(None, route=PubSubRoute("google")) == "my-own"


def test_anonymous_connection_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, is_anonymous=True, project="p-1", quota_project_id="billed-project")

    access = find_access(PubSubRoute("google"))

    assert type(access.credentials).__name__ == "AnonymousCredentials"
    assert access.endpoint is None


def test_emulator_wins_and_nobody_is_asked_for_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    connection(monkeypatch, key_path="/no/such/key.json", project="p-1", pubsub_endpoint="not an endpoint")

    assert find_access(PubSubRoute("google", (TARGET,))) == PubSubAccess(emulator_host="127.0.0.1:1")
    assert find_access(PubSubRoute("unknown")) == PubSubAccess(emulator_host="127.0.0.1:1")
    assert resolve_project(None, route=PubSubRoute("google")) == "p-1"


def test_universe_of_the_environment_has_an_endpoint_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, is_anonymous=True)
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "cloud.example")

    assert find_access(PubSubRoute("google")).endpoint == "pubsub.cloud.example"
    assert find_access(PubSubRoute("google", endpoint="eu.example:443")).endpoint == "eu.example:443"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"key_path": "/no/such/key.json"}, "key_path: no usable credentials: .*; a service account's key"),
        ({"key_path": "/etc/hostname"}, "key_path: no usable credentials"),
        ({"keyfile_dict": "{"}, "keyfile_dict: no usable credentials: Invalid key JSON"),
        (
            {"keyfile_dict": "{}"},
            "keyfile_dict: no usable credentials: .*the whole JSON of a service account",
        ),
        ({"is_anonymous": True, "key_path": "/k.json"}, "mutually exclusive"),
        ({"is_anonymous": True, "pubsub_endpoint": "https://x"}, "pubsub_endpoint: 'https://x' is not host"),
        ({}, "set key_path or keyfile_dict in the connection"),
    ],
)
def test_bad_field_is_named_with_its_remedy(
    extra: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, **extra)

    with pytest.raises(ContractError, match=rf"^gcp_conn_id: 'google': .*{words}"):
        find_access(PubSubRoute("google"))


def test_bad_quota_project_is_named(google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, keyfile_dict=google.key_info(KEYED), quota_project_id="no project!")

    with pytest.raises(ContractError, match=r"quota_project_id: no usable credentials: .*6 to 30 characters"):
        find_access(PubSubRoute("google"))
