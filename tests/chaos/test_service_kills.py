"""`kill -9` of a service at each instant of a call's life.

Every call that was answered 202 completes; nothing is done again whose outcome was stored; a completion
that is published twice is the same CloudEvent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1 import types as T
from httpx2 import Client, TransportError
from tests.chaos.test_broker_kills import clients

from longcall.contract import Message, Report, Succeeded, decode_report, is_completion
from longcall.testing import running_broker

HERE = Path(__file__).parent
TOPIC = "projects/p/topics/completions"
INBOX = "projects/p/subscriptions/everything"
WAIT_S = 30.0
BYSTANDERS = 3
INSTANTS = (
    "before the call is stored",
    "stored, before the 202",
    "claimed, before the work",
    "in the middle of the work",
    "worked, before the outcome is stored",
    "outcome stored, before it is published",
    "published, before that is noted",
    "published and noted",
)
SHORT = (INSTANTS[3], INSTANTS[6])
"""Instants of the short form, where the SQLite one has shown them all already."""
FULL = 10
"""Rounds (of other storms) from which on this is the long form, and of which one goes round all instants."""
WORKS_TWICE = INSTANTS[3:5]
"""Where the target's work had begun and its outcome was not stored: it is done again, as asked."""


@dataclass
class Row:
    """What came of the kills at one instant."""

    kills: int = 0
    calls: int = 0
    lost: int = 0
    duplicates: int = 0
    done_again: int = 0
    recovered_s: list[float] = field(default_factory=list)


Process: TypeAlias = tuple[subprocess.Popen[str], Client]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the services of a test keep things."""

    broker: str
    folder: Path
    store: str


@contextmanager
def serving(place: Place, instant: str, target: str) -> Iterator[Process]:
    environment = {
        **os.environ,
        "PUBSUB_EMULATOR_HOST": place.broker,
        "KILLABLE_STORE": place.store,
        "PYTHONPATH": str(HERE),
        "KILLABLE_FOLDER": str(place.folder),
        "KILLABLE_INSTANT": instant,
        "KILLABLE_TARGET": target,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", "import killable; killable.main()"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the service did not start"
        with Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as http:
            yield process, http
    finally:
        process.kill()
        process.communicate()


class Hearer:
    """Everything that was published, by call."""

    def __init__(self, broker: str) -> None:
        self._heard: dict[str, list[Report]] = {}
        self._changed = threading.Condition()
        self._subscriber = pubsub_v1.SubscriberClient(credentials=AnonymousCredentials())
        self._pull = self._subscriber.subscribe(INBOX, self._hear)

    def close(self) -> None:
        self._pull.cancel()
        self._pull.result()
        self._subscriber.close()

    def completions(self, name: str) -> list[Report]:
        with self._changed:
            return [report for report in self._heard.get(name, []) if is_completion(report.body)]

    def wait_for(self, names: set[str]) -> set[str]:
        """Wait for the completions of these calls; return the calls whose does not come."""
        with self._changed:
            self._changed.wait_for(lambda: all(self.completions(name) for name in names), WAIT_S)
        return {name for name in names if not self.completions(name)}

    def _hear(self, message: pubsub_v1.subscriber.message.Message) -> None:
        report = decode_report(Message(data=message.data, attributes=dict(message.attributes)))
        assert report is not None
        with self._changed:
            self._heard.setdefault(report.correlation_id, []).append(report)
            self._changed.notify_all()
        message.ack()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_broker() as broker:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker)
        with clients(broker) as to:
            to.publisher.create_topic(T.Topic(name=TOPIC))
            to.subscriber.create_subscription(T.Subscription(name=INBOX, topic=TOPIC))
        yield broker


def ask(http: Client, path: str, names: set[str]) -> None:
    """Ask for each of the calls at once; a request that the kill takes is asked again later."""

    def post(name: str) -> None:
        with suppress(TransportError):
            http.post(f"{path}?correlid={name}")

    threads = [threading.Thread(target=post, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)


def kill_once(place: Place, hearer: Hearer, instant: str, round_: int, row: Row, *, replicas: bool) -> None:
    kind = ("/task", "/process")[(round_ + INSTANTS.index(instant)) % 2]
    prefix = f"{INSTANTS.index(instant)}-{round_}"
    target = f"{prefix}-target"
    names = {target, *(f"{prefix}-{n}" for n in range(BYSTANDERS))}
    with ExitStack() as survivors:
        services = [survivors.enter_context(serving(place, instant, target)) for _ in range(1 + replicas)]
        ask(services[0][1], kind, names)
        dead = first_to_die([process for process, _ in services])
        assert dead.returncode == -signal.SIGKILL, f"nobody died {instant}"
        began_s = time.monotonic()
        alive = [http for process, http in services if process is not dead]
        http = alive[0] if alive else survivors.enter_context(serving(place, "never", target))[1]
        ask(http, kind, names)
        lost = hearer.wait_for(names)
        row.recovered_s.append(time.monotonic() - began_s)
        for name in names - lost:
            assert http.get(f"/calls/{name}").json()["state"] == "succeeded"
    row.kills += 1
    row.calls += len(names)
    row.lost += len(lost)
    for name in names - lost:
        check(name, place.folder, hearer, row, works_once=name == target and instant not in WORKS_TWICE)


def first_to_die(processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        for process in processes:
            if process.poll() is not None:
                return process
        time.sleep(0.01)
    return processes[0]


def check(name: str, folder: Path, hearer: Hearer, row: Row, *, works_once: bool) -> None:
    completions = hearer.completions(name)
    assert {type(report.body) for report in completions} == {Succeeded}
    assert len({(report.id, report.attempt, report.sequence, report.time) for report in completions}) == 1
    row.duplicates += len(completions) - 1
    starts = [int(line) for line in (folder / f"starts-{name}").read_text().split()]
    # Each start is an attempt of its own, no attempt came after the one whose outcome counts, and one kill
    # interrupts a call once at most.
    assert starts == sorted(set(starts)), f"{name} was started as {starts}"
    assert starts[-1] == completions[0].attempt
    assert len(starts) <= (1 if works_once else 2), f"{name} was started {len(starts)} times"
    row.done_again += len(starts) - 1


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL", "PostgreSQL, one replica of two"])
def test_no_kill_loses_a_call_or_does_it_again_needlessly(
    tmp_path: Path, broker: str, rounds: int, kind: str, request: pytest.FixtureRequest
) -> None:
    is_file = kind == "SQLite"
    store = str(tmp_path / "calls.db") if is_file else request.getfixturevalue("make_postgres")()
    place = Place(broker=broker, folder=tmp_path, store=store)
    rows = {instant: Row() for instant in INSTANTS}
    hearer = Hearer(broker)
    try:
        for round_ in range(max(1, rounds // FULL)):
            for instant in INSTANTS if is_file or rounds >= FULL else SHORT:
                kill_once(place, hearer, instant, round_, rows[instant], replicas="two" in kind)
    finally:
        hearer.close()
    print(f"\n{kind}\n\n{table(rows)}")
    assert sum(row.lost for row in rows.values()) == 0


def table(rows: dict[str, Row]) -> str:
    """Return the rows as a table of the docs."""
    lines = [
        "| killed | kills | calls | lost | published twice | done again | back after, median |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for instant, row in rows.items():
        if not row.kills:
            continue
        median_s = sorted(row.recovered_s)[len(row.recovered_s) // 2]
        lines.append(
            f"| {instant} | {row.kills} | {row.calls} | {row.lost} | {row.duplicates} | {row.done_again} "
            f"| {median_s:.1f} s |"
        )
    return "\n".join(lines)
