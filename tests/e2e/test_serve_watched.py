"""`longcall serve` as its operator sees it: who gets in, what is counted, logged and traced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.identities import AUDIENCE, CALLER, running_issuer
from tests.e2e.polling import until
from tests.e2e.processes import wait_until_gone
from tests.e2e.serving import HERE, TOPIC, Caller, Process, calling, serve_command, serving

from longcall.contract import Failed, Succeeded

TOKEN = "a-token-that-nobody-guesses"
NEW = "another-token-for-the-service"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def opened(broker: str, *arguments: str) -> AsyncIterator[tuple[Process, Caller]]:
    with serving(broker, *arguments) as service:
        async with calling(service, broker) as caller:
            yield service, caller


async def scrape(http: AsyncClient, name: str, **labels: str) -> float | None:
    """Return a metric's value; None: there is none."""
    text = (await http.get("/metrics")).text
    found = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"longcall_{name}" and sample.labels == labels
    ]
    return found[0] if found else None


async def until_metric(http: AsyncClient, expected: float, name: str, **labels: str) -> None:
    async def is_so() -> bool:
        return await scrape(http, name, **labels) == expected

    await until(is_so)


# Who gets in.


async def test_service_with_a_file_of_tokens(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens"
    file.write_text(TOKEN)
    monkeypatch.setenv("LONGCALL_AUTH", "bearer")
    monkeypatch.setenv("LONGCALL_AUTH_TOKEN_FILE", str(file))
    secret = "the-result-is-a-secret"
    async with opened(broker, "--log-level", "debug") as (service, caller):
        http = caller.http
        assert (await http.get("/health")).status_code == 200
        for method, path in (("POST", "/echo?correlid=a"), ("GET", "/calls"), ("GET", "/metrics")):
            answer = await http.request(method, path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (
                401,
                'Bearer realm="longcall"',
            )
        # A body that is not read does not keep the refusal from its reader.
        assert (await http.post("/echo?correlid=a", content=b"x" * 5_000_000)).status_code == 401
        assert (await http.get("/calls", headers=bearer(NEW))).status_code == 401

        http.headers.update(bearer(TOKEN))
        await caller.start("/echo", "a", json=secret)
        completion = await caller.completion("a")
        assert isinstance(completion, Succeeded)
        assert secret.encode() in completion.data
        assert len((await http.get("/calls")).json()["calls"]) == 1

        (tmp_path / "new").write_text(NEW)
        (tmp_path / "new").replace(file)
        assert (await http.get("/calls")).status_code == 401
        assert (await http.get("/calls", headers=bearer(NEW))).status_code == 200
        assert service.end(signal.SIGTERM) == 0
        for hidden in (TOKEN, NEW, secret):
            assert hidden not in service.log


async def test_service_with_google_id_tokens(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_issuer() as issuer:
        monkeypatch.setenv("LONGCALL_AUTH", "google-id-token")
        monkeypatch.setenv("LONGCALL_AUTH_AUDIENCE", AUDIENCE)
        monkeypatch.setenv("LONGCALL_AUTH_ALLOWED_CALLERS", CALLER)
        monkeypatch.setenv("LONGCALL_AUTH_CERTIFICATES_URL", issuer.url)
        async with opened(broker) as (service, caller):
            http = caller.http
            issuer.status = 500
            answer = await http.get("/calls", headers=bearer(issuer.key.token()))
            assert (answer.status_code, answer.json()["retryable"]) == (503, True)
            issuer.status = 200
            http.headers.update(bearer(issuer.key.token()))

            async def has_asked_again() -> bool:
                return (await http.get("/calls")).status_code != 503

            await until(has_asked_again)

            await caller.start("/echo", "a", json=1)
            assert isinstance(await caller.completion("a"), Succeeded)
            other = bearer(issuer.key.token(email="somebody@else.example"))
            assert (await http.get("/calls", headers=other)).status_code == 403
            assert (await http.get("/calls", headers=bearer("a.b.c"))).status_code == 401
            assert str(http.headers["authorization"]).split(".")[1] not in service.log


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"LONGCALL_AUTH": "bearer"}, "LONGCALL_AUTH_TOKENS: missing"),
        ({"LONGCALL_AUTH_TOKENS": TOKEN}, "LONGCALL_AUTH_TOKENS: is set, and LONGCALL_AUTH is 'none'"),
        ({"LONGCALL_AUTH": "bearer", "LONGCALL_AUTH_TOKEN_FILE": "/nowhere"}, "No such file"),
        ({"LONGCALL_LOG_FORMAT": "xml"}, "log-format: one of text, json"),
    ],
)
def test_service_that_would_be_open_by_mistake_does_not_start(environ: dict[str, str], said: str) -> None:
    command = serve_command("workers:service", "--port", "0", "--topic", TOPIC)
    environment = {**os.environ, "PUBSUB_EMULATOR_HOST": "127.0.0.1:1", **environ}

    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert said in done.stderr
    assert TOKEN not in done.stderr


# What is counted.


async def test_calls_and_requests_are_counted(broker: str) -> None:
    async with opened(broker) as (_, caller):
        http = caller.http
        for name in ("a", "b"):
            await caller.start("/echo", name, json=1)
            await caller.completion(name)
        await caller.start("/refuses", "c")
        assert isinstance(await caller.completion("c"), Failed)
        assert (await http.post("/echo?correlid=a", json=1)).status_code == 200

        await until_metric(http, 3.0, "reports_published_total", kind="accepted")
        assert await scrape(http, "calls_accepted_total", handler="/echo") == 2
        assert await scrape(http, "attempts_started_total", handler="/echo") == 2
        assert await scrape(http, "calls_ended_total", handler="/echo", state="succeeded") == 2
        assert await scrape(http, "calls_ended_total", handler="/refuses", state="failed") == 1
        assert await scrape(http, "run_duration_seconds_count", handler="/echo", state="succeeded") == 2
        assert await scrape(http, "queue_duration_seconds_count", handler="/refuses") == 1
        assert await scrape(http, "reports_published_total", kind="succeeded") == 2
        assert await scrape(http, "completions_unpublished") == 0
        posted = {"method": "POST", "route": "/echo"}
        assert await scrape(http, "http_requests_total", status="202", **posted) == 2
        assert await scrape(http, "http_requests_total", status="200", **posted) == 1


async def test_cancelled_while_it_waits_is_counted_once(broker: str, tmp_path: Path) -> None:
    async with opened(broker) as (_, caller):
        names = [str(number) for number in range(20)]
        for name in names:
            await caller.start("/waits", name, json=str(tmp_path / "go"))
        last = await scrape(caller.http, "calls_waiting", handler="/waits")
        assert last
        for _ in range(2):
            await caller.http.delete(f"/calls/{names[-1]}")
        assert await scrape(caller.http, "calls_ended_total", handler="/waits", state="cancelled") == 1
        assert await scrape(caller.http, "calls_waiting", handler="/waits") == last - 1


async def test_work_that_died_with_the_service_is_counted_after_the_restart(
    broker: str, tmp_path: Path
) -> None:
    store = ("--store", str(tmp_path / "store"))
    async with opened(broker, *store) as (service, caller):
        await caller.start("/waits", "a", json=str(tmp_path / "go"))
        pid = await caller.worker("a")
        await until_metric(caller.http, 1, "calls_running", handler="/waits")
        service.end(signal.SIGKILL)
        wait_until_gone(pid)
    async with opened(broker, *store) as (_, caller):
        http = caller.http
        await until_metric(http, 1, "calls_running", handler="/waits")
        assert await scrape(http, "calls_accepted_total", handler="/waits") == 0
        assert await scrape(http, "attempts_interrupted_total", handler="/waits") == 1
        assert await scrape(http, "attempts_started_total", handler="/waits") == 1
        (tmp_path / "go").touch()
        await until_metric(http, 1, "calls_ended_total", handler="/waits", state="succeeded")


async def test_completion_that_cannot_be_published_is_seen(broker: str) -> None:
    with serving(broker) as service:  # nobody has made the topic
        async with AsyncClient(base_url=service.url) as http:
            assert (await http.post("/echo?correlid=a", json=1)).status_code == 202
            await until_metric(http, 1, "completions_unpublished")
            failure = {"kind": "succeeded", "error": "topic_not_found"}
            await until_metric(http, 1, "publish_failures_total", **failure)
            assert (await scrape(http, "completions_unpublished_age_seconds") or 0) > 0


# What is logged.


async def test_each_line_of_the_log_is_json_and_says_what_it_is_about(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    async with opened(broker, "--log-format", "json", "--log-level", "debug") as (service, caller):
        await caller.start("/echo", "a", json="a-secret-result", headers={"traceparent": TRACEPARENT})
        await caller.completion("a")
        await caller.start("/fails", "b", json=1)
        await caller.completion("b")
        assert service.end(signal.SIGTERM) == 0

    lines: list[dict[str, Any]] = [json.loads(line) for line in service.log.splitlines()]
    (child,) = [line for line in lines if line["logger"] == "workers"]
    assert child["message"] == "working on a"
    assert (child["severity"], child["correlid"], child["handler"], child["attempt"]) == (
        "INFO",
        "a",
        "/echo",
        1,
    )
    assert child["logging.googleapis.com/trace"] == f"projects/my-project/traces/{TRACE}"
    (accepted,) = [line for line in lines if line["message"].startswith("Call a: accepted")]
    assert (accepted["correlid"], accepted["handler"]) == ("a", "/echo")
    (failed,) = [line for line in lines if "exception" in line]
    assert (failed["correlid"], failed["severity"]) == ("b", "ERROR")
    assert failed["exception"].endswith("RuntimeError: the disk of node 7 is full")
    attempt = [line for line in lines if line["message"].startswith("Call a: attempt 1")]
    assert [(line["message"].split()[-1], line["attempt"]) for line in attempt] == [
        ("begins", 1),
        ("succeeded", 1),
    ]
    assert "a-secret-result" not in service.log


# What is traced.


async def test_without_an_sdk_reports_carry_the_caller_s_traceparent(broker: str) -> None:
    async with opened(broker) as (_, caller):
        await caller.start("/echo", "a", json=1, headers={"traceparent": TRACEPARENT})
        reports = await caller.until("a", Succeeded)

    assert {report.traceparent for report in reports} == {TRACEPARENT}


async def test_spans_lead_from_the_caller_to_the_completion(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "spans"
    monkeypatch.setenv("SPANS", str(file))
    with serving(broker, target="traced:service") as service:
        async with calling(service, broker) as caller:
            await caller.start("/queries", "a", headers={"traceparent": TRACEPARENT})
            reports = await caller.until("a", Succeeded)
            await caller.start("/fails", "b")
            await caller.completion("b")
        assert service.end(signal.SIGTERM) == 0

    spans = [json.loads(line) for line in file.read_text().splitlines()]
    by_name = {span["name"]: span for span in spans if span["context"]["trace_id"] == f"0x{TRACE}"}
    ids = {name: span["context"]["span_id"].removeprefix("0x") for name, span in by_name.items()}
    parents = {name: span["parent_id"].removeprefix("0x") for name, span in by_name.items()}
    assert parents == {
        "accept /queries": PARENT,
        "process /queries": ids["accept /queries"],
        "query": ids["process /queries"],
        "send completions": ids["process /queries"],
    }
    assert {report.traceparent for report in reports} == {f"00-{TRACE}-{ids['process /queries']}-01"}
    (failed,) = [span for span in spans if span["name"] == "process /fails"]
    assert failed["status"]["status_code"] == "ERROR"
    assert failed["attributes"]["error.type"] == "nothing"
    assert "the-result" not in file.read_text()


async def test_attempt_after_kill_9_joins_the_same_trace(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, store = tmp_path / "spans", ("--store", str(tmp_path / "store"))
    monkeypatch.setenv("SPANS", str(file))
    with serving(broker, *store, target="traced:service") as service:
        async with calling(service, broker) as caller:
            go = str(tmp_path / "go")
            await caller.start("/waits", "a", json=go, headers={"traceparent": TRACEPARENT})
            pid = await caller.worker("a")
            service.end(signal.SIGKILL)
            wait_until_gone(pid)
    (tmp_path / "go").touch()
    with serving(broker, *store, target="traced:service") as service:
        async with calling(service, broker) as caller:
            reports = await caller.until("a", Succeeded)
        assert service.end(signal.SIGTERM) == 0

    spans = {span["name"]: span for span in map(json.loads, file.read_text().splitlines())}
    assert {span["context"]["trace_id"] for span in spans.values()} == {f"0x{TRACE}"}
    assert spans["process /waits"]["parent_id"] == spans["accept /waits"]["context"]["span_id"]
    assert spans["process /waits"]["attributes"]["longcall.attempt"] == 2
    work = spans["process /waits"]["context"]["span_id"].removeprefix("0x")
    assert reports[-1].traceparent == f"00-{TRACE}-{work}-01"
