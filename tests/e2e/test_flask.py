"""The article's Flask service, made durable: the example as it stands, killed in the middle."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1.types import Subscription
from tests.e2e.polling import wait_until
from tests.e2e.processes import WAIT_S

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flask"
TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/inbox"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(program: Path, broker: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    port = free_port()
    environment = {
        "PUBSUB_EMULATOR_HOST": broker,
        "GOOGLE_CLOUD_PROJECT": "p",
        "GCP_TOPIC": "completions",
        "PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, str(program)], env=os.environ | environment, stderr=subprocess.PIPE
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as http:
            wait_until(lambda: answers(process, http))
            yield process, http
    finally:
        process.kill()
        process.communicate()


def answers(process: subprocess.Popen[bytes], http: httpx2.Client) -> bool:
    assert process.poll() is None
    try:
        return http.get("/health").is_success
    except httpx2.ConnectError:
        return False


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """The example, working for two seconds."""
    program = tmp_path / "app.py"
    program.write_text((EXAMPLE / "after.py").read_text().replace("time.sleep(10)", "time.sleep(2)"))
    return program


@pytest.fixture
def inbox(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pubsub_v1.SubscriberClient]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker)
    anyone = AnonymousCredentials()
    with pubsub_v1.SubscriberClient(credentials=anyone) as subscriber:
        publisher = pubsub_v1.PublisherClient(credentials=anyone)
        publisher.create_topic(name=TOPIC)
        wanted = Subscription(name=INBOX, topic=TOPIC, filter='attributes.correlid = "a"')
        subscriber.create_subscription(request=wanted)
        yield subscriber


def completion(subscriber: pubsub_v1.SubscriberClient) -> bytes:
    while True:
        for received in subscriber.pull(subscription=INBOX, max_messages=10).received_messages:
            if received.message.attributes["ce-type"] == "longcall.call.succeeded.v1":
                return bytes(received.message.data)


def test_killed_service_goes_on(quick: Path, broker: str, inbox: pubsub_v1.SubscriberClient) -> None:
    with running(quick, broker) as (process, http):
        answer = http.post("/serve?correlid=a", content=b"World")
        assert (answer.status_code, answer.headers["location"]) == (202, "/calls/a")
        wait_until(lambda: http.get("/calls/a").json()["state"] == "running")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running(quick, broker) as (_, http):
        assert completion(inbox) == b"Work Done!"
        status = http.get("/calls/a").json()
        assert (status["state"], status["attempt"]) == ("succeeded", 2)
        assert http.get("/nowhere").status_code == 404
        assert http.delete("/calls/nobody").headers["content-type"] == "application/problem+json"


def test_page_is_there_and_holds_no_thread(
    quick: Path, broker: str, inbox: pubsub_v1.SubscriberClient
) -> None:
    with running(quick, broker) as (_, http):
        started = http.post("/serve?correlid=a")
        assert started.status_code == 202
        for path in ("/calls/", "/calls/a"):
            page = http.get(path, headers={"Accept": "text/html"})
            assert page.headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert http.get(path, headers={"Accept": "text/event-stream"}).status_code == 204
        assert http.get("/calls/a/log").json() == {"correlid": "a", "lines": []}


def test_second_process_on_one_store_says_why_it_does_not_start(quick: Path, broker: str) -> None:
    with running(quick, broker) as (first, _):
        second = subprocess.run(
            [sys.executable, str(quick)],
            env=os.environ
            | {"PUBSUB_EMULATOR_HOST": broker, "GOOGLE_CLOUD_PROJECT": "p", "GCP_TOPIC": "t-t", "PORT": "0"},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {first.pid} works on" in second.stderr


def test_the_page_shows_the_difference_as_it_is() -> None:
    import difflib

    page = (ROOT / "docs" / "how-to" / "make-a-flask-service-durable.md").read_text()
    (shown,) = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    before, after = ((EXAMPLE / name).read_text().splitlines() for name in ("before.py", "after.py"))
    difference = list(difflib.unified_diff(before, after, "before.py", "after.py", lineterm=""))
    assert shown.splitlines() == difference


def test_blueprint_is_guarded_and_counted_as_any_service(
    quick: Path, broker: str, inbox: pubsub_v1.SubscriberClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = {"Authorization": "Bearer a-token-that-nobody-guesses"}
    monkeypatch.setenv("LONGCALL_AUTH", "bearer")
    monkeypatch.setenv("LONGCALL_AUTH_TOKENS", "a-token-that-nobody-guesses")
    with running(quick, broker) as (_, http):
        assert http.get("/health").status_code == 200
        for method, path in (("POST", "/serve?correlid=a"), ("GET", "/calls"), ("GET", "/metrics")):
            assert http.request(method, path).status_code == 401
        assert http.post("/serve?correlid=a", headers=token).status_code == 202
        text = http.get("/metrics", headers=token).text

    assert 'longcall_calls_accepted_total{handler="/serve"} 1.0' in text
    assert 'longcall_http_requests_total{method="POST",route="/serve",status="401"}' not in text
    assert 'longcall_http_requests_total{method="POST",route="other",status="401"} 1.0' in text
