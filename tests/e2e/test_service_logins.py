"""How the Airflow provider logs in to a service: real tokens, a real service, a fake Google on loopback."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.e2e.google_accounts import MACHINE, GoogleAccounts, running_google
from tests.e2e.serving import serving

from longcall._core.clock import ShiftedClock, SystemClock
from longcall.airflow import google_tokens, logged_in_http
from longcall.airflow.errors import LoginFailed
from longcall.airflow.google_tokens import IdTokens
from longcall.airflow.service_hook import RequestNotSent, ServiceHook, StartedCall
from longcall.airflow.service_login import GoogleIdToken
from longcall.cli.stack.ports import free_ports
from longcall.client import CallRefused
from longcall.contract import CallRequest

CALLER = "airflow@my-project.iam.gserviceaccount.com"
BETWEEN = "between@my-project.iam.gserviceaccount.com"
STRANGER = "stranger@my-project.iam.gserviceaccount.com"
TOKEN = "the-token-of-the-service"


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GoogleAccounts]:
    with running_google() as running:
        running.redirect(monkeypatch, tmp_path)
        monkeypatch.setattr(logged_in_http, "id_tokens", IdTokens())
        yield running


@dataclass
class Recorder:
    """A service that notes the headers of each request, and answers as it is told."""

    url: str = ""
    status: int = 202
    location: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[Recorder]:
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            recorder.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(recorder.status)
            if recorder.location:
                self.send_header("Location", recorder.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_DELETE = do_POST

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: object) -> ServiceHook:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "http", **fields}))
    return ServiceHook(conn_id)


def start(hook: ServiceHook, correlid: str = "an-id", endpoint: str = "/spin") -> StartedCall:
    request = CallRequest(correlation_id=correlid, body=b"1", content_type="application/json")
    return hook.start(request, method="POST", endpoint=endpoint, headers=None)


def call_and_cancel(hook: ServiceHook, correlid: str) -> None:
    started = start(hook, correlid)
    status = hook.status(started.location)
    assert status is not None
    assert status.correlation_id == correlid
    assert hook.cancel(started.location)


def test_google_id_tokens_of_every_origin_are_taken_by_a_service(
    broker: str, google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    google.grants = {CALLER: {MACHINE, BETWEEN, STRANGER}, BETWEEN: {MACHINE}}
    key_path = str(google.key_file(tmp_path, CALLER))
    stranger = {"key_path": str(google.key_file(tmp_path / "..", STRANGER))}
    monkeypatch.setenv("LONGCALL_AUTH", "google-id-token")
    monkeypatch.setenv("LONGCALL_AUTH_AUDIENCE", url)
    monkeypatch.setenv("LONGCALL_AUTH_ALLOWED_CALLERS", f"{CALLER},{MACHINE}")
    monkeypatch.setenv("LONGCALL_AUTH_CERTIFICATES_URL", google.certificates_url)
    keyed = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": google.key_info(STRANGER)}}
    monkeypatch.setenv("AIRFLOW_CONN_KEYED", json.dumps(keyed))
    keyed["extra"] = {"keyfile_dict": google.key_info(STRANGER), "impersonation_chain": CALLER}
    monkeypatch.setenv("AIRFLOW_CONN_ACTING", json.dumps(keyed))

    def hook(**extra: object) -> ServiceHook:
        return connection(monkeypatch, "digits", host=url, extra={"auth": "google-id-token", **extra})

    with serving(broker, "--port", str(port)) as service:
        call_and_cancel(hook(), "machine")
        call_and_cancel(hook(key_path=key_path), "key")
        call_and_cancel(hook(impersonation_chain=CALLER), "one-step")
        call_and_cancel(hook(impersonation_chain=[BETWEEN, CALLER]), "two-steps")
        call_and_cancel(hook(**stranger, impersonation_chain=CALLER), "key-and-step")
        call_and_cancel(hook(gcp_conn_id="keyed", impersonation_chain=CALLER), "connection-and-step")
        call_and_cancel(hook(gcp_conn_id="acting"), "connection-that-acts")
        assert [account for kind, account in google.asked if kind == "id"] == [MACHINE, *[CALLER] * 6]

        with pytest.raises(CallRefused) as refused:
            start(hook(gcp_conn_id="keyed"))
        assert refused.value.status == 403
        with pytest.raises(CallRefused) as refused:
            start(hook(audience="https://somebody-else.example"))
        assert refused.value.status == 401
        assert google.key.token().split(".")[0] not in service.log  # of no token, not even the first part


def test_token_is_fetched_once_until_shortly_before_its_end(google: GoogleAccounts) -> None:
    clock = ShiftedClock(SystemClock())
    tokens = IdTokens(clock)
    login = GoogleIdToken(audience="https://digits.example")

    threads = [threading.Thread(target=tokens.token, args=(login,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.advance(3600 - 330)
    tokens.token(login)
    assert len(google.asked) == 1
    clock.advance(60)
    tokens.token(login)
    assert len(google.asked) == 2
    tokens.token(GoogleIdToken(audience="https://another.example"))
    assert len(google.asked) == 3


def test_token_that_the_service_refuses_is_not_used_again(
    google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recording() as service:
        hook = connection(monkeypatch, "digits", host=service.url, extra={"auth": "google-id-token"})
        service.status = 401
        with pytest.raises(CallRefused):
            start(hook)
        service.status = 202
        start(hook)
        start(hook)

    assert len(google.asked) == 2


def test_token_goes_to_the_connections_host_alone_and_into_no_log(
    google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    masked: list[str] = []
    monkeypatch.setattr(google_tokens, "mask_secret", masked.append)
    with recording() as service, recording() as elsewhere:
        hook = connection(monkeypatch, "digits", host=service.url, extra={"auth": "google-id-token"})
        service.status, service.location = 307, f"{elsewhere.url}/spin"
        start(hook)
        assert hook.cancel(f"{elsewhere.url}/calls/an-id") is False
        assert hook.status(f"{elsewhere.url}/calls/an-id") is None

    (token,) = masked
    assert service.headers[0]["authorization"] == f"Bearer {token}"
    assert len(elsewhere.headers) == 1
    assert "authorization" not in elsewhere.headers[0]
    assert token not in caplog.text


def test_login_options_are_no_headers_and_other_extras_are(
    google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"auth": "google-id-token", "audience": "https://x.example", "X-Team": "data", "timeout": 9}
    with recording() as service:
        start(connection(monkeypatch, "digits", host=service.url, extra=extra))

    (headers,) = service.headers
    assert headers["x-team"] == "data"
    assert not {"auth", "audience", "timeout"} & set(headers)


def test_token_that_cannot_be_had_says_why_and_what_to_do(
    google: GoogleAccounts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def failure(**extra: object) -> LoginFailed:
        options = {"auth": "google-id-token", "audience": "https://x.example", **extra}
        hook = connection(monkeypatch, "digits", host="http://127.0.0.1:9", extra=options)
        with pytest.raises(LoginFailed) as caught:
            start(hook)
        return caught.value

    denied = failure(impersonation_chain=CALLER)
    assert "denied on" in str(denied)
    assert f"{CALLER} must grant roles/iam.serviceAccountTokenCreator" in str(denied)
    assert not denied.retryable
    missing = failure(key_path=str(tmp_path / "none.json"))
    assert "check key_path" in str(missing)
    assert "check the Google connection 'unknown'" in str(failure(gcp_conn_id="unknown"))
    monkeypatch.setenv(
        "AIRFLOW_CONN_NOBODY", '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true}}'
    )
    assert "name one in impersonation_chain" in str(failure(gcp_conn_id="nobody"))

    google.down = True
    hook = connection(monkeypatch, "digits", host="http://127.0.0.1:9", extra={"auth": "google-id-token"})
    with pytest.raises(RequestNotSent, match="this machine needs a service account"):
        start(hook)
    google.down = False
    hook = connection(
        monkeypatch,
        "digits",
        host="http://127.0.0.1:9",
        extra={"auth": "google-id-token", "key_path": str(google.key_file(tmp_path, CALLER))},
    )
    google.down = True
    with pytest.raises(RequestNotSent, match="Google did not answer as it should") as caught:
        start(hook)
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, LoginFailed)


def test_bearer_token_and_basic_login(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCALL_AUTH", "bearer")
    monkeypatch.setenv("LONGCALL_AUTH_TOKENS", TOKEN)
    with serving(broker) as service:
        bearer = {"host": service.url, "extra": {"auth": "bearer"}}
        call_and_cancel(connection(monkeypatch, "digits", password=TOKEN, **bearer), "bearer")
        with pytest.raises(CallRefused) as refused:
            start(connection(monkeypatch, "digits", password=TOKEN[::-1], **bearer))
        assert refused.value.status == 401
        assert TOKEN[::-1] not in str(refused.value)
        stock = {"Authorization": f"Bearer {TOKEN}"}
        call_and_cancel(connection(monkeypatch, "digits", host=service.url, extra=stock), "stock")

    with recording() as service:
        for extra in ({}, {"auth": "basic"}):
            start(connection(monkeypatch, "digits", host=service.url, login="me", password="pw", extra=extra))
    assert [headers["authorization"] for headers in service.headers] == ["Basic bWU6cHc="] * 2
    assert "auth" not in service.headers[1]
