"""The Test button of a `longcall` connection, against real processes."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from tests.e2e.self_signed import self_signed
from tests.e2e.serving import serving
from tests.e2e.test_service_logins import recording

from longcall.airflow.hook import LongCallHook
from longcall.testing import BrokerProcess
from longcall.transport.pubsub import PubSubTransport

PROJECT = "projects/p-1"
TOKEN = "the-token-of-the-service"


@pytest.fixture
def pubsub(longcall_broker_process: BrokerProcess) -> BrokerProcess:
    async def create() -> None:
        transport = PubSubTransport(emulator_host=longcall_broker_process.address)
        await transport.create_topic(f"{PROJECT}/topics/reports")
        await transport.aclose()

    asyncio.run(create())
    return longcall_broker_process


def subscriptions(broker: BrokerProcess) -> list[str]:
    with grpc.insecure_channel(broker.address) as channel:
        transport = SubscriberGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        listed = SubscriberClient(transport=transport).list_subscriptions(project=PROJECT)
        return [subscription.name for subscription in listed]


class Button:
    """Connections in the environment, and what the button says of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        patch.setenv("GOOGLE_CLOUD_PROJECT", "p-1")

    def service(self, url: str, **fields: object) -> None:
        self._set("SERVICE", conn_type="http", host=url, **fields)

    def press(self, **extra: object) -> tuple[bool, dict[str, str]]:
        """Return whether all is well, and the line about each subject."""
        self._set(
            "CALLS", conn_type="longcall", extra={"topic": "reports", "http_conn_id": "service", **extra}
        )
        passed, message = LongCallHook("calls").test_connection()
        lines = dict(line.split(": ", 1) for line in message.splitlines())
        assert len(lines) == len(message.splitlines())
        return passed, lines

    def _set(self, name: str, **fields: object) -> None:
        self._patch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(fields))


@pytest.fixture
def button(monkeypatch: pytest.MonkeyPatch) -> Button:
    return Button(monkeypatch)


@contextmanager
def secure(folder: Path) -> Iterator[str]:
    """Serve over TLS with a certificate that nobody trusts."""
    chain = folder / "chain.pem"
    chain.write_bytes(b"".join(self_signed()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the client hangs up: that is an SSLError, and so one of these
                context.wrap_socket(listener.accept()[0], server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_all_is_well_and_nothing_is_left(
    pubsub: BrokerProcess, button: Button, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGCALL_AUTH", "bearer")
    monkeypatch.setenv("LONGCALL_AUTH_TOKENS", TOKEN)
    with serving(pubsub.address) as service:
        button.service(service.url, password=TOKEN, extra={"auth": "bearer"})
        passed, lines = button.press()

    assert passed
    assert lines == {
        "Pub/Sub": f"ok: project p-1, by the emulator at {pubsub.address}, for PUBSUB_EMULATOR_HOST is set",
        "inbox": "ok: a trial subscription was attached to projects/p-1/topics/reports",
        "reading": "ok: permitted",
        "deletion": "ok: the trial subscription is gone again",
        "service": "ok: answers (200 to /health)",
        "login": "ok: taken",
    }
    assert subscriptions(pubsub) == []


def test_shared_inbox_is_made_ready_and_stays(pubsub: BrokerProcess, button: Button) -> None:
    with recording() as service:
        button.service(service.url)
        for _ in range(2):
            passed, lines = button.press(inbox_policy="shared", inbox="prod-airflow")
            assert passed
            assert lines["inbox"] == f"ok: {PROJECT}/subscriptions/prod-airflow is ready"
            assert "deletion" not in lines

    assert subscriptions(pubsub) == [f"{PROJECT}/subscriptions/prod-airflow"]


def test_each_thing_that_fails_at_pubsub_is_said_with_its_remedy(
    pubsub: BrokerProcess, button: Button
) -> None:
    with recording() as service:
        button.service(service.url)

        passed, lines = button.press(topic="missing")
        assert not passed
        assert "gcloud pubsub topics create missing --project p-1" in lines["inbox"]
        assert lines["service"].startswith("ok: ")

        pubsub.refuse("CreateSubscription", "PERMISSION_DENIED", times=1)
        assert "pubsub.topics.attachSubscription" in button.press()[1]["inbox"]

        pubsub.refuse("DeleteSubscription", "PERMISSION_DENIED", times=1)
        passed, lines = button.press()
        assert not passed
        assert "grant pubsub.subscriptions.delete" in lines["deletion"]

        pubsub.refuse("TestIamPermissions", "UNAVAILABLE", times=1)
        before = subscriptions(pubsub)
        assert button.press()[1]["reading"].startswith("FAILED: Pub/Sub could not serve")
        assert subscriptions(pubsub) == before  # deleted again all the same

        pubsub.kill()
        assert "check the network" in button.press()[1]["inbox"]


@pytest.mark.parametrize(
    ("status", "subject", "words"),
    [
        (401, "login", "FAILED: answered 401: the service does not take this login"),
        (403, "login", "FAILED: answered 403: the service knows the account"),
        (404, "login", "ok: not refused (404 to /calls"),
        (503, "service", "FAILED: answers 503 to /health"),
    ],
)
def test_each_answer_of_a_service_means_something(
    pubsub: BrokerProcess, button: Button, status: int, subject: str, words: str
) -> None:
    with recording() as service:
        service.status = status
        button.service(service.url)
        assert button.press()[1][subject].startswith(words)


def test_service_that_does_not_answer_is_told_by_why(
    pubsub: BrokerProcess, button: Button, tmp_path: Path
) -> None:
    with recording() as gone:
        pass
    button.service(gone.url)
    assert "nothing answers there" in button.press()[1]["service"]
    button.service("http://no-such-host.invalid")
    assert "the host is not known here" in button.press()[1]["service"]
    with secure(tmp_path) as url:
        button.service(url)
        assert "TLS failed" in button.press()[1]["service"]
    button.service("https://digits.example", extra={"auth": "nobody"})
    assert "auth: one of basic, bearer, google-id-token" in button.press()[1]["service"]
    button.service("https://digits.example", extra={"auth": "google-id-token", "key_path": "/no/such/key"})
    assert "check key_path" in button.press()[1]["login"]
    assert "name another in http_conn_id" in button.press(http_conn_id="unknown")[1]["service"]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"topic": ""}, "topic: none given"),
        ({"signing": "perhaps"}, "signing: one of auto, required, off"),
        ({"inbox": "mine"}, "inbox: only inbox_policy 'shared' takes a name"),
        ({"inbox_polcy": "shared"}, "inbox_polcy: is no field"),
    ],
)
def test_bad_field_is_named(button: Button, extra: dict[str, object], words: str) -> None:
    passed, lines = button.press(**extra)

    assert not passed
    assert list(lines) == ["connection"]
    assert words in lines["connection"]
