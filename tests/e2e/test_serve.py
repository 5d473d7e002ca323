"""`longcall serve` as a process, with a broker: calls, cancellation, kills, outages, misuse."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from tests.e2e.processes import WAIT_S, wait_until_gone
from tests.e2e.serving import HERE, INBOX, TOPIC, calling, serve_command, serving

from longcall.broker import BrokerConfig
from longcall.contract import (
    Accepted,
    BadSignature,
    CallState,
    CallStatus,
    Cancelled,
    Failed,
    Problem,
    Progress,
    SigningKey,
    Succeeded,
    decode_report,
    verify,
)
from longcall.contract.signing import SIGNATURE_ATTRIBUTE
from longcall.testing import running_broker
from longcall.transport import InboxSpec, InboxStream
from longcall.transport.pubsub import PubSubTransport


async def test_calls_of_every_kind_are_carried_out_and_reported(broker: str) -> None:
    with serving(broker) as service:
        async with calling(service, broker) as caller:
            await caller.start("/steps", "steps")
            await caller.http.post(
                "/serve?correlid=bare", content=b"hello", headers={"content-type": "text/plain"}
            )
            await caller.start("/fails", "fails")
            await caller.start("/refuses", "refuses")
            steps = await caller.until("steps", Succeeded)
            assert isinstance(steps[0].body, Accepted)
            assert steps[-2].body == Progress(done=100_000, total=100_000, message="all done")
            assert [report.sequence for report in steps] == sorted(report.sequence or 0 for report in steps)
            assert await caller.completion("bare") == Succeeded(data=b"HELLO", content_type="text/plain")
            assert await caller.completion("fails") == Failed(
                problem=Problem(title="RuntimeError", detail="the disk of node 7 is full", retryable=True)
            )
            refused = await caller.completion("refuses")
            assert isinstance(refused, Failed)
            assert not refused.problem.retryable
        assert service.end(signal.SIGTERM) == 0
    assert "Traceback" in service.log  # of /fails
    assert "fork" not in service.log  # gRPC has nothing to say
    assert "interpreter shutdown" not in service.log


async def test_twenty_requests_at_once_with_one_id_are_one_piece_of_work(broker: str) -> None:
    with serving(broker) as service:
        async with calling(service, broker) as caller:
            for number in range(5):
                name = f"call-{number}"
                locations = await asyncio.gather(*(caller.start("/echo", name, json=[1]) for _ in range(20)))
                assert set(locations) == {f"/calls/{name}"}
                reports = await caller.until(name, Succeeded)
                assert len([r for r in reports if isinstance(r.body, Accepted)]) == 1
        service.end(signal.SIGTERM)
    for number in range(5):
        assert service.log.count(f"working on call-{number}") == 1


async def test_each_of_two_keys_tells_that_reports_are_genuine(broker: str) -> None:
    """As while one takes the other's place: who waits may know the old one alone, or the new one."""
    old, new, unknown = (SigningKey.new() for _ in range(3))
    transport = PubSubTransport(emulator_host=broker)
    with serving(broker) as service:
        async with (
            calling(service, broker) as caller,
            aclosing(transport),
            _own_inbox(transport) as stream,
        ):
            headers = {"Longcall-Signing-Key": f"{old.to_text()} {new.to_text()}"}
            answer = await caller.http.post("/echo?correlid=a", json=1, headers=headers)
            assert answer.headers["longcall-signed"] == "v1"
            kinds = []
            while Succeeded not in kinds:
                async with asyncio.timeout(WAIT_S):
                    message = (await anext(aiter(stream))).message
                assert len(message.attributes[SIGNATURE_ATTRIBUTE].split()) == 2
                for known in (old, new):
                    verify(message, [known])
                with pytest.raises(BadSignature):
                    verify(message, [unknown])
                report = decode_report(message)
                assert report is not None
                kinds.append(type(report.body))
            assert kinds == [Accepted, Succeeded]


@asynccontextmanager
async def _own_inbox(transport: PubSubTransport) -> AsyncIterator[InboxStream]:
    inbox = f"{INBOX}-signed"
    await transport.create_inbox(InboxSpec(name=inbox, topic=TOPIC, filter=""))
    async with transport.open_stream(inbox, lease_s=600) as stream:
        yield stream


async def test_delete_ends_a_process_that_never_would(broker: str) -> None:
    with serving(broker) as service:
        async with calling(service, broker) as caller:
            location = await caller.start("/spin", "a")
            pid = await caller.worker("a")
            assert (await caller.http.delete(location)).status_code == 202
            assert isinstance(await caller.completion("a"), Cancelled)
            wait_until_gone(pid)
            status = CallStatus.from_wire((await caller.http.get(location)).json())
            assert status.state is CallState.CANCELLED


async def test_killed_service_leaves_no_process_behind(broker: str) -> None:
    for _ in range(2):
        with serving(broker, "--store", "memory", "--max-processes", "3") as service:
            async with calling(service, broker) as caller:
                for name in ("a", "b", "c"):
                    await caller.start("/spin", name)
                pids = [await caller.worker(name) for name in ("a", "b", "c")]
                service.end(signal.SIGKILL)
                for pid in pids:
                    wait_until_gone(pid)


async def test_stopping_service_lets_work_end_and_answers_meanwhile(broker: str, tmp_path: Path) -> None:
    with serving(broker, "--drain", "60") as service:
        async with calling(service, broker) as caller:
            location = await caller.start("/waits", "a", json=str(tmp_path / "go"))
            await caller.worker("a")
            service.popen.send_signal(signal.SIGTERM)
            service.wait_for_log("Stopping: 1 calls")
            refused = await caller.http.post("/echo?correlid=b")
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            assert CallStatus.from_wire((await caller.http.get(location)).json()).state is CallState.RUNNING
            (tmp_path / "go").touch()
            assert await caller.completion("a") == Succeeded.of("done")
            assert service.wait() == 0


async def test_stopping_service_fails_what_does_not_end_in_time_if_it_will_forget_it(broker: str) -> None:
    with serving(broker, "--drain", "0", "--store", "memory") as service:
        async with calling(service, broker) as caller:
            await caller.start("/spin", "a")
            pid = await caller.worker("a")
            assert service.end(signal.SIGTERM) == 0
            wait_until_gone(pid)
            completion = await caller.completion("a")
            assert isinstance(completion, Failed)
            assert (completion.problem.title, completion.problem.retryable) == ("The service stopped", True)


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_completions_outlive_an_outage_of_the_broker_and_stop_no_work(tmp_path: Path) -> None:
    config = BrokerConfig(port=_free_port(), data_dir=tmp_path)
    broker = f"127.0.0.1:{config.port}"
    with running_broker(config):
        transport = PubSubTransport(emulator_host=broker)
        await transport.create_topic(TOPIC)
        await transport.create_inbox(InboxSpec(name=INBOX, topic=TOPIC, filter=""))
        await transport.aclose()
    with serving(broker) as service:
        async with AsyncClient(base_url=service.url) as http:
            for number in range(8):
                assert (await http.post(f"/echo?correlid=call-{number}")).status_code == 202
            service.wait_for_log("its completion is not published yet")
            for number in range(8):
                service.wait_for_log(f"Call call-{number}: attempt 1 succeeded")
        with running_broker(config):
            async with calling(service, broker) as caller:
                for number in range(8):
                    assert isinstance(await caller.completion(f"call-{number}"), Succeeded)


def _refused(*arguments: str, cwd: Path = HERE, **environment: str) -> str:
    """Start a service that cannot be started; return the one line that it says."""
    done = subprocess.run(
        serve_command(*arguments),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if "TOPIC" not in k and "PROJECT" not in k} | environment,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workers"], "MODULE:SERVICE"),
        (["nowhere:service"], "no module 'nowhere'"),
        (["workers:nothing"], "found nothing"),
        (["workers:echo"], "found function"),
        (["workers:service"], "--topic"),
        (["workers:service", "--topic", "completions"], "project"),
        (["workers:service", "--topic", TOPIC, "--drain", "-1"], "drain"),
        (["workers:service", "--topic", TOPIC, "--port", "99999"], "--port"),
        (["workers:service", "--topic", TOPIC, "--host", "no.such.host.invalid"], "--host"),
        (["broken:service", "--topic", TOPIC], "at the top of a module"),
    ],
)
def test_service_that_cannot_be_served_is_one_clear_error(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    cwd = HERE
    if arguments[0].startswith("broken"):
        cwd = tmp_path
        (cwd / "broken.py").write_text(
            "import longcall.service as sdk\n"
            "service = sdk.Service('s')\n"
            "service.handler('/h')(lambda _: None)\n"
        )
    error = _refused(*arguments, cwd=cwd)
    assert said in error
    assert len(error.splitlines()) == 1, error


def test_port_in_use_is_one_clear_error() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        error = _refused("workers:service", "--topic", TOPIC, "--port", str(other.getsockname()[1]))
    assert "in use; choose another" in error
    assert len(error.splitlines()) == 1, error


def test_port_variable_that_is_no_number_is_named_as_such() -> None:
    assert "--port" in _refused("workers:service", "--topic", TOPIC, PORT="http")


async def test_head_without_end_is_refused(broker: str) -> None:
    with serving(broker, "--store", "memory") as service:
        async with AsyncClient(base_url=service.url) as http:
            long, longer = ({"x-note": "n" * size} for size in (60_000, 1_000_000))
            assert (await http.post("/echo?correlid=a", headers=long)).status_code == 202
            assert (await http.post("/echo?correlid=b", headers=longer)).status_code == 400
            assert (await http.get("/calls/b")).status_code == 404
