"""What the pages about the broker show works as it stands there."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.push_endpoints import running_endpoint
from tests.e2e.test_node_client import NODE, node

from longcall.broker.push.flow import MAX_WINDOW, PushFlow
from longcall.broker.push.pusher import _ACKS
from longcall.broker.push.pushers import _MAX_AT_ONCE
from longcall.cli import broker as command
from longcall.testing.broker import running_broker

__all__ = ["node"]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "broker.md").read_text()
GUIDE = (DOCS / "how-to" / "from-googles-emulator.md").read_text()
WAIT_S = 60.0
LOOK = """
import os
from google.cloud.pubsub_v1 import PublisherClient
topics = PublisherClient().list_topics(project="projects/ci")
print(os.environ["PUBSUB_EMULATOR_HOST"], [topic.name for topic in topics])
"""


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _options() -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return subparsers.choices["broker"]._actions


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["broker", *words])


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A broker with the topic of the examples."""
    with running_broker() as running:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running)
        from google.cloud import pubsub_v1

        with pubsub_v1.SubscriberClient():
            publisher = pubsub_v1.PublisherClient()
            publisher.create_topic(name="projects/my-project/topics/orders")
            publisher.transport.close()
        yield running


def test_every_option_is_in_the_table() -> None:
    names = [name for action in _options() for name in action.option_strings if name not in ("-h", "--help")]
    assert re.findall(r"^\| `(--[\w-]+)`", PAGE, re.MULTILINE) == names


def test_defaults_in_the_table_are_those_of_the_command() -> None:
    shown = dict(re.findall(r"^\| `(--[\w-]+)` \| `?([\w.]+)`? \|", PAGE, re.MULTILINE))
    for action in _options():
        name = action.option_strings[-1]
        if isinstance(action.default, str | int) and not isinstance(action.default, bool):
            assert shown.get(name, action.default) in (str(action.default), action.default), name


def test_start_of_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    (shown,) = [block for block in _blocks(PAGE, "console") if "Server started" in block]
    line, *output = shown.splitlines()[1:]
    words = line.removeprefix("$ longcall broker ").split()
    process = subprocess.Popen(
        [sys.executable, "-m", "longcall.cli.main", "broker", *words, "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = [process.stdout.readline().rstrip("\n") for _ in output]
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)
    port = printed[0].split()[-1]
    assert [text.replace(port, "8085") for text in printed] == output


def test_python_of_the_page_works(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, pushed, in_tests = _blocks(PAGE, "python")
    names: dict[str, object] = {}
    exec(first, names)
    assert capsys.readouterr().out == "a ship\n"
    with running_endpoint() as endpoint:
        exec(pushed.replace("http://127.0.0.1:8080/orders", endpoint.url), names)
        names["publisher"].publish(names["topic"], b"x").result(WAIT_S)  # type: ignore[attr-defined]
        endpoint.wait_for_texts("x")
    for client in ("publisher", "subscriber"):
        names[client].transport.close()  # type: ignore[attr-defined]
    exec(in_tests, {})
    assert capsys.readouterr().out.startswith("export PUBSUB_EMULATOR_HOST=127.0.0.1:")


def test_node_of_the_page_works(address: str, node: str) -> None:
    (script,) = _blocks(PAGE, "js")
    ran = subprocess.run(
        [node, "--input-type=module", "-"],
        input=script,
        cwd=NODE,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("a ship\n", 0), ran.stderr


def test_gcloud_of_the_page_works(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    (script,) = _blocks(PAGE, "bash")
    port = _free_port()
    words = ["--port", "0", "--http-port", str(port), "--project", "my-project", "--topic", "orders"]
    process = subprocess.Popen(
        [sys.executable, "-m", "longcall.cli.main", "broker", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        ran = subprocess.run(
            ["bash", "-ec", script.replace("8086", str(port))],
            env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)
    assert "messageIds" in ran.stdout, ran.stderr


def test_figures_of_push_are_those_of_the_code() -> None:
    (statuses,) = re.findall(r"\| acknowledged by \| status ([\d, ]+)\.", PAGE)
    assert {int(status) for status in statuses.split(",")} == _ACKS
    assert f"| at once | {PushFlow().window} at first" in PAGE
    assert f"at most {MAX_WINDOW}, and about {_MAX_AT_ONCE} for all" in PAGE


def test_ci_of_the_guide_starts_a_broker(tmp_path: Path) -> None:
    (script,) = _blocks(GUIDE, "bash")
    port = _free_port()
    (tmp_path / "pip").write_text("#!/bin/sh\n")
    (tmp_path / "longcall").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m longcall.cli.main "$@"\n')
    for name in ("pip", "longcall"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "look.py").write_text(LOOK)
    script = (
        script.replace("8085", str(port)) + f'"{sys.executable}" look.py; kill "$(cat broker.pid)"; wait\n'
    )
    ran = subprocess.run(
        ["bash", "-ec", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ran.stdout == f"127.0.0.1:{port} ['projects/ci/topics/orders']\n", ran.stderr
    assert (tmp_path / "broker.log").read_text().endswith("Stopping\n")


def test_commands_of_the_guide_are_understood() -> None:
    entrypoint = re.findall(r'^ENTRYPOINT \["longcall", "broker", (.*)\]$', GUIDE, re.MULTILINE)
    arguments = re.findall(r"^    command: \[(.*)\]$", GUIDE, re.MULTILINE)
    words = [re.findall(r'"([^"]*)"', text) for text in (*entrypoint, *arguments)]
    parsed = _arguments([word for part in words for word in part])
    assert (parsed.host, parsed.project, parsed.topic) == ("0.0.0.0", "my-project", ["orders"])
    assert parsed.data_dir == Path("/data")
    for line in re.findall(r"`longcall broker (--[^`]*)`", GUIDE):
        _arguments(line.split())


def test_help_tells_of_every_kind_of_survival_and_where_to_point_clients() -> None:
    for said in ("PUBSUB_EMULATOR_HOST", "kill -9", "power cut", "SIGTERM", "no authentication"):
        assert said in command._EPILOG
