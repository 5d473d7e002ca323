"""A broker that pushes, as a process: killed, stopped, and started again on what it has kept."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from tests.e2e.push_endpoints import Endpoint, Gate, Pushed, running_endpoint
from tests.e2e.test_broker_process import INBOX, TOPIC, WAIT_S, broker, clients


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def _push_and_publish(address: str, endpoint: Endpoint, *texts: str) -> None:
    with clients(address) as (_, subscriber):
        config = {"push_endpoint": endpoint.url}
        subscriber.create_subscription(
            request={
                "name": INBOX,
                "topic": TOPIC,
                "push_config": config,
                "enable_message_ordering": True,
                "ack_deadline_seconds": 600,
            }
        )
    for text in texts:
        _publish(address, text, key=text)


def _publish(address: str, text: str, *, key: str) -> None:
    with clients(address) as (publisher, _):
        messages: list[Any] = [{"data": text.encode(), "ordering_key": key}]
        publisher.publish(topic=TOPIC, messages=messages, retry=None, timeout=WAIT_S)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_not_acknowledged_is_pushed_again_after_a_restart(
    tmp_path: Path, endpoint: Endpoint, how: signal.Signals
) -> None:
    held = Gate()

    def answer(pushed: Pushed) -> int:
        return held(pushed) if pushed.text == "held" else 204

    endpoint.answer = answer
    with broker("--data-dir", str(tmp_path)) as first:
        _push_and_publish(first.address, endpoint, "done", "held")
        endpoint.wait_for(lambda: sorted(endpoint.texts) == ["done", "held"])
        _publish(first.address, "after", key="done")  # it comes when the one before is acknowledged
        endpoint.wait_for(lambda: "after" in endpoint.texts)
        began_s = time.monotonic()
        first.end(how)
        assert time.monotonic() - began_s < WAIT_S  # a stopping broker has no ten minutes
    held.open()
    with broker("--data-dir", str(tmp_path)):
        endpoint.wait_for(lambda: endpoint.texts.count("held") == 2)
    assert endpoint.texts.count("done") == 1


def test_stopping_broker_takes_the_ack_of_what_is_under_way(tmp_path: Path, endpoint: Endpoint) -> None:
    held = endpoint.answer = Gate()
    with broker("--data-dir", str(tmp_path)) as first:
        _push_and_publish(first.address, endpoint, "a")
        endpoint.wait_for_count(1)
        first.popen.send_signal(signal.SIGTERM)
        assert first.popen.stdout is not None
        while "Stopping" not in first.popen.stdout.readline():
            pass
        held.open()
        first.popen.communicate(timeout=WAIT_S)
        assert first.popen.returncode == 0
    with broker("--data-dir", str(tmp_path)) as second:
        _publish(second.address, "next", key="a")
        endpoint.wait_for(lambda: "next" in endpoint.texts)
    assert endpoint.texts == ["a", "next"]


def test_pushing_goes_on_after_a_full_disk(tmp_path: Path, endpoint: Endpoint) -> None:
    held = endpoint.answer = Gate()
    with broker("--data-dir", str(tmp_path)) as process:
        _push_and_publish(process.address, endpoint, "kept")
        endpoint.wait_for_count(1)
        size = max(file.stat().st_size for file in tmp_path.iterdir())
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        with pytest.raises(ServiceUnavailable):
            _publish(process.address, "x" * 100_000, key="lost")
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, unlimited)
        # The broker has started again from its store: the first request is abandoned, and nothing is lost.
        endpoint.wait_for(lambda: endpoint.texts == ["kept", "kept"])
        held.open()
        endpoint.wait_for(lambda: endpoint.abandoned == 1)
        _publish(process.address, "next", key="kept")
        endpoint.wait_for(lambda: endpoint.texts == ["kept", "kept", "next"])


def test_broker_that_never_pushes_loads_no_http_client() -> None:
    code = "import sys, longcall.broker; print([name for name in sys.modules if name.startswith('http')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "httpcore2" not in done.stdout
