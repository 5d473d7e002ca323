"""`longcall list` and `longcall sweep`, against a broker and a service with calls whose callers are gone."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.plain_service import service

from longcall.cli.main import main
from longcall.client import AsyncClient, PerCallInbox, PerCallTopicInbox, SharedInbox
from longcall.client.labels import created_label
from longcall.client.owner import CallOwner
from longcall.contract import resource_id
from longcall.testing import running_broker, running_service
from longcall.transport import InboxSpec
from longcall.transport.pubsub import PubSubTransport

TOPIC = "projects/p/topics/reports"
OWNER = CallOwner(
    deployment="d", dag_id="train", run_id="r1", task_id="call", map_index=3, http_conn_id="t", endpoint="/x"
)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_broker() as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
        asyncio.run(make_inbox())
        with running_service(service, topic=TOPIC) as address:
            yield address


async def make_inbox(*, age: timedelta | None = None) -> str:
    """Make the topic, and an inbox of this age; return its id."""
    transport = PubSubTransport.from_env(environ())
    await transport.create_topic(TOPIC)
    name = ""
    if age is not None:
        labels = created_label(datetime.now(UTC) - age) | OWNER.to_labels()
        spec = PerCallInbox(topic=TOPIC, labels=labels).new_call().inbox
        await transport.create_inbox(spec)
        name = resource_id(spec.name)
    await transport.aclose()
    return name


async def inboxes() -> set[str]:
    transport = PubSubTransport.from_env(environ())
    found = {resource_id(inbox.name) for inbox in await transport.list_inboxes("p")}
    await transport.aclose()
    return found


def environ() -> dict[str, str]:
    return dict(os.environ)


async def start(url: str) -> str:
    """Start a call and forget it; return its id."""
    async with AsyncClient.from_env(environ(), topic=TOPIC) as client:
        return (await client.start(url)).correlation_id


def test_sweep_says_what_it_would_do_and_does_it_when_told(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = asyncio.run(make_inbox(age=timedelta(days=3)))
    new = asyncio.run(make_inbox(age=timedelta(minutes=5)))
    asyncio.run(make_others())
    everything = asyncio.run(inboxes())

    assert main(["sweep"]) == 0
    said = capsys.readouterr().out
    assert f"{old}  3d old  reports  train / r1 / call[3]  -> would be deleted" in said
    assert new not in said
    assert asyncio.run(inboxes()) == everything

    assert main(["sweep", "--delete"]) == 0
    assert "1 inboxes deleted, 0 kept, 0 left" in capsys.readouterr().out
    assert asyncio.run(inboxes()) == everything - {old}


def test_sweep_finds_a_calls_own_topic_with_its_inbox_and_without(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, lost = asyncio.run(make_own_topics())

    assert main(["sweep", "--delete"]) == 0

    said = capsys.readouterr().out
    assert f"{whole}  3d old  {whole}  -> deleted" in said
    assert f"{lost}  3d old  {lost}  -> deleted" in said
    assert asyncio.run(topics()) == {"reports"}


async def make_own_topics() -> tuple[str, str]:
    """Make two, of which one has lost its inbox; return the calls' ids."""
    transport = PubSubTransport.from_env(environ())
    labels = created_label(datetime.now(UTC) - timedelta(days=3))
    whole, lost = (PerCallTopicInbox(project="p", labels=labels).new_call() for _ in range(2))
    for address in (whole, lost):
        await address.create(transport)
    await transport.delete_inbox(lost.inbox.name)
    await transport.aclose()
    return whole.correlation_id, lost.correlation_id


async def topics() -> set[str]:
    transport = PubSubTransport.from_env(environ())
    found = {resource_id(name) for name in await transport.list_topics("p")}
    await transport.aclose()
    return found


async def make_others() -> None:
    """Make a lasting inbox of ours, and a subscription of somebody else."""
    transport = PubSubTransport.from_env(environ())
    await transport.create_inbox(SharedInbox(topic=TOPIC, name="shared").new_call().inbox)
    await transport.create_inbox(InboxSpec(name="projects/p/subscriptions/theirs", topic=TOPIC, filter=""))
    await transport.aclose()


def test_sweep_asks_the_service_and_cancels_only_when_told(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    working, ended = asyncio.run(start(f"{url}/forever")), asyncio.run(start(f"{url}/quick"))
    sweep = ["sweep", "--older-than", "0s", "--topic", "reports", "--delete", "--service"]

    assert main([*sweep, f"{url}/forever"]) == 0
    said = re.sub(r"\d+s old", "new", capsys.readouterr().out)
    assert f"{working}  new  reports  running  -> kept: it still works" in said
    assert asyncio.run(inboxes()) == {working}

    assert main([*sweep, f"{url}/forever", "--cancel"]) == 0
    assert f"{working}" in capsys.readouterr().out
    assert asyncio.run(inboxes()) == set()
    assert ended not in asyncio.run(inboxes())
    assert main(["list", "--service", f"{url}/forever"]) == 0
    assert capsys.readouterr().out == "0 inboxes\n"


def test_service_that_does_not_answer_leaves_everything(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = asyncio.run(make_inbox(age=timedelta(days=3)))
    assert main(["sweep", "--delete", "--service", "http://127.0.0.1:9/x"]) == 2
    assert "no answer" in capsys.readouterr().err
    assert name in asyncio.run(inboxes())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cancel"], "--cancel: needs --service"),
        (["--service", "http://x", "--header", "nonsense"], "--header: of the form"),
        (["--topic", "no such topic"], "--topic"),
    ],
)
def test_what_makes_no_sense_is_refused(
    url: str, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *words]) == 2
    assert says in capsys.readouterr().err
