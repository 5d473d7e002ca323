"""A user's run of pytest, with longcall installed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PLUGIN = "longcall.testing.pytest_plugin"


def _run(folder: Path, test: str, *options: str) -> tuple[int, str]:
    (folder / "test_theirs.py").write_text(textwrap.dedent(test))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    ran = subprocess.run(
        [*command, *options, "test_theirs.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_run_that_asks_for_no_broker_imports_none(tmp_path: Path) -> None:
    status, output = _run(
        tmp_path,
        f"""
        import sys

        def test_nothing_is_imported():
            assert "{PLUGIN}" in sys.modules
            assert not {{"grpc", "google.protobuf", "longcall.broker"}} & set(sys.modules)
        """,
    )
    assert status == 0, output


def test_plugin_can_be_turned_off(tmp_path: Path) -> None:
    status, output = _run(tmp_path, "def test(longcall_broker): pass", "-p", "no:longcall")
    assert status == 1
    assert "fixture 'longcall_broker' not found" in output


@pytest.mark.parametrize("fixture", ["longcall_broker", "longcall_broker_process"])
def test_each_test_has_a_broker_of_its_own_and_no_trace_of_it_after(tmp_path: Path, fixture: str) -> None:
    status, output = _run(
        tmp_path,
        f"""
        import os, socket
        from google.cloud.pubsub_v1 import PublisherClient

        seen = []

        def make_and_list(broker):
            assert os.environ["PUBSUB_EMULATOR_HOST"] == broker.address
            seen.append(broker.address)
            publisher = PublisherClient()
            assert list(publisher.list_topics(project="projects/p")) == []
            publisher.create_topic(name="projects/p/topics/orders")
            publisher.transport.close()

        def test_one({fixture}):
            make_and_list({fixture})

        def test_two({fixture}):
            make_and_list({fixture})

        def test_after():
            assert "PUBSUB_EMULATOR_HOST" not in os.environ
            for address in seen:
                with socket.socket() as probe:
                    assert probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2])))
        """,
    )
    assert status == 0, output
    assert "3 passed" in output
