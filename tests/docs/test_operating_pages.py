"""What the pages for operators show works as it stands there, with a real service and broker."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.polling import wait_until
from tests.e2e.processes import WAIT_S

from longcall.service import Service, ServiceConfig
from longcall.service.auth import config as auth_config
from longcall.testing import running_broker
from longcall.transport.pubsub import PubSubTransport

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
CONNECT = (HOW_TO / "connect.md").read_text()
SECURE = (HOW_TO / "secure-a-service.md").read_text()
WATCH = (HOW_TO / "watch-a-service.md").read_text()
TOPIC = "projects/my-project/topics/completions"
MODULE = """
from longcall.service import Call, Service
import logging

service = Service("digits")
log = logging.getLogger(__name__)

@service.handler("/train")
def train(call: Call) -> dict[str, float]:
    log.info("fold 3 of 5")
    return {"accuracy": 0.97}
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    return re.findall(r"^\$ (.*)$", block, re.MULTILINE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a service, and a broker to publish to."""
    (tmp_path / "my_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    with running_broker() as address:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        yield tmp_path


@contextmanager
def served(command: str, log: Path) -> Iterator[str]:
    """Run a command of a page, at a free port; the value is the service's address."""
    assert command.startswith("longcall serve my_module:service ")
    words = [sys.executable, "-m", "longcall.cli.main", *shlex.split(command)[1:], "--port", "0"]
    with log.open("w") as errors, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors) as process:
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        try:
            assert first.startswith("Listening on "), first + log.read_text()
            yield first.split()[2].rstrip(",")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_S)


def shell(command: str) -> str:
    """Run a command of a page and return what it prints."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until_done(location: str) -> None:
    wait_until(lambda: httpx2.get(location).json()["state"] == "succeeded", "it does not end")


async def make_topic() -> PubSubTransport:
    transport = PubSubTransport.from_env(os.environ)
    await transport.create_topic(TOPIC)
    return transport


# Secure a service.


async def test_service_with_a_file_of_tokens_answers_as_the_page_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, asked = [block for block in blocks(SECURE, "console") if "tokens" in block][:2]
    *prepare, export, serve = commands(start)
    for command in prepare:
        shell(command)
    for name, value in re.findall(r"(LONGCALL_\w+)=(\S+)", export):
        monkeypatch.setenv(name, value)

    transport = await make_topic()
    with served(serve, home / "log") as url:
        for command, expected in re.findall(r"^\$ (curl.*)\n(\d+)$", asked, re.MULTILINE):
            asks = command.replace("http://127.0.0.1:8000", url)
            assert shell(asks).strip() == expected

        names: dict[str, Any] = {}
        exec(blocks(SECURE, "python")[1], names)
        token = (home / "tokens").read_text().strip()

        class Token(httpx2.Auth):
            def auth_flow(self, request: httpx2.Request) -> Any:
                request.headers["Authorization"] = f"Bearer {token}"
                yield request

        assert await names["accuracy"](transport, TOPIC, url, Token()) == {"accuracy": 0.97}
    await transport.aclose()


def test_id_tokens_are_configured_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in blocks(SECURE, "console") if "google-id-token" in block]
    environ = dict(re.findall(r"(LONGCALL_\w+)=(\S+)", block))
    service = Service("digits")

    @service.handler("/train", isolation="task")
    async def train(call: object) -> None:
        pass

    names: dict[str, Any] = {"service": service}
    exec(blocks(SECURE, "python")[0], names)

    assert names["config"] == ServiceConfig.from_env({"LONGCALL_TOPIC": TOPIC, **environ})


def test_every_variable_of_authentication_is_in_the_table() -> None:
    read = set(re.findall(r"LONGCALL_AUTH\w*", inspect.getsource(auth_config))) - {"LONGCALL_AUTH_"}
    assert set(re.findall(r"^\| `(LONGCALL_\w+)`", SECURE, re.MULTILINE)) == read


def test_airflow_logs_in_with_the_connection_of_the_page() -> None:
    from airflow.models.connection import Connection

    from longcall.airflow.service_login import BearerToken, read_login

    (variable,) = re.findall(r"export AIRFLOW_CONN_DIGITS='(.*)'", CONNECT)
    connection = Connection.from_json(variable.replace("…", "the-token"), conn_id="digits")
    login = read_login(
        "digits",
        url=f"{connection.schema}://{connection.host}",
        login=connection.login,
        password=connection.password,
        extra=connection.extra_dejson,
    )

    assert login == BearerToken("the-token")


# Watch a service.


async def test_metrics_of_the_page_are_those_of_the_service(home: Path) -> None:
    (block,) = [block for block in blocks(WATCH, "console") if "curl" in block]
    _, serve, curl = commands(block)
    transport = await make_topic()
    with served(serve, home / "log") as url:
        httpx2.post(f"{url}/train?correlid=an-id", json={}).raise_for_status()
        asks = curl.replace("http://127.0.0.1:8000", url)
        text = shell(asks)
    await transport.aclose()

    told: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("longcall_") and not name.endswith("_created"):
            told[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    rows = re.findall(r"^\| `(longcall_\w+)` \| ([\w, ]*) ?\|", WATCH, re.MULTILINE)
    listed = {name: set(re.findall(r"\w+", labels)) for name, labels in rows}
    assert set(listed) == set(told)
    # What has not happened has no labels yet.
    assert {name: labels for name, labels in listed.items() if told[name]} == {
        name: labels for name, labels in told.items() if labels
    }


def test_alerts_ask_for_metrics_that_there_are() -> None:
    (block,) = blocks(WATCH, "yaml")
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    listed = set(re.findall(r"^\| `(longcall_\w+)`", WATCH, re.MULTILINE))

    for rule in rules:
        assert set(re.findall(r"longcall_\w+", rule["expr"])) <= listed
        assert rule["annotations"]["summary"]


async def test_log_line_of_the_page_is_one_of_the_service(home: Path) -> None:
    (block,) = [block for block in blocks(WATCH, "console") if "--log-format" in block]
    (example,) = (json.loads(block) for block in blocks(WATCH, "json"))
    (command,) = commands(block)
    transport = await make_topic()
    headers = {
        "traceparent": f"00-{example['logging.googleapis.com/trace'].rpartition('/')[2]}"
        f"-{example['logging.googleapis.com/spanId']}-01"
    }
    with served(command, home / "log") as url:
        started = httpx2.post(f"{url}/train?correlid={example['correlid']}", json={}, headers=headers)
        wait_until_done(f"{url}{started.headers['location']}")
    await transport.aclose()

    lines = [json.loads(line) for line in (home / "log").read_text().splitlines()]
    (found,) = [line for line in lines if line["logger"] == "my_module"]
    assert found | {"time": ""} == example | {"time": ""}
    assert re.fullmatch(r"[\d-]+T[\d:.]+Z", found["time"])


async def test_spans_of_the_page_are_made(home: Path) -> None:
    setup = next(block for block in blocks(WATCH, "python") if "TracerProvider" in block)
    (home / "my_module.py").write_text(
        setup.replace("ConsoleSpanExporter()", "ConsoleSpanExporter(out=__import__('sys').stderr)") + MODULE
    )
    transport = await make_topic()
    with served(
        "longcall serve my_module:service --topic completions --project my-project", home / "log"
    ) as url:
        started = httpx2.post(f"{url}/train?correlid=an-id", json={})
        wait_until_done(f"{url}{started.headers['location']}")
    await transport.aclose()

    (names,) = re.findall(r"three spans, each below the one\nbefore: (.*?)\. ", WATCH)
    made = set(re.findall(r'"name": "(.*?)"', (home / "log").read_text()))
    assert made == set(re.findall(r"`(.*?)`", names))
