"""`kill -9` of triggerer, scheduler, broker and service at each instant of a call that pauses there."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.airflow.pausing import IN_TRIGGER, IN_WORKER
from tests.airflow.runs import batched, started, wait_until

from longcall.cli.stack import LocalStack

if TYPE_CHECKING:
    from tests.airflow.conftest import Subscriptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(5400)]

BEFORE_INBOX, INBOX, ANSWERED, BEFORE_DEFERRAL, RESUMED, _READ = IN_WORKER
LISTENS, WAITS, RECEIVED, STORED, LEAVES = IN_TRIGGER
INSTANTS = {
    "triggerer": (LISTENS, WAITS, RECEIVED, STORED, LEAVES, RESUMED),
    "scheduler": (INBOX, ANSWERED, BEFORE_DEFERRAL, WAITS, RESUMED),
    "broker": (BEFORE_INBOX, INBOX, ANSWERED, WAITS, RECEIVED, STORED),
    "service": (INBOX, ANSWERED, WAITS, RECEIVED),
}
SHORT = {
    "triggerer": (RECEIVED,),
    "scheduler": (ANSWERED,),
    "broker": (WAITS, STORED),
    "service": (ANSWERED,),
}
STARTED = {"triggerer": "Starting the triggerer", "scheduler": "Starting the scheduler"}
"""What is in the log of each life of a component that does not listen."""
EACH = {"triggerer": 5, "scheduler": 5, "broker": 8, "service": 10}
"""How often at each instant in a hundred rounds: as often as the victim is quick to come back."""
AT_ONCE = {"service": 4}
"""Calls under way at once, where it is not all of them: a call whose work has died five times is given up."""
FULL = 10
"""Rounds from which on this is the long form."""


@pytest.mark.parametrize("victim", INSTANTS)
def test_process_killed_at_any_instant_loses_nothing(
    stack: LocalStack, subscriptions: Subscriptions, paused_folder: Path, rounds: int, victim: str
) -> None:
    instants = SHORT[victim] if rounds < FULL else INSTANTS[victim]
    before, known = subscriptions.names(), started(stack)
    each = max(1, rounds * EACH[victim] // 100)
    pauses = [f"{instant}/{n}" for n in range(each) for instant in instants]
    kills, lost, wrong = Counter[str](), Counter[str](), 0

    for together in batched(pauses, AT_ONCE.get(victim, len(pauses))):
        run_id = stack.airflow.trigger("paused", {"pauses": list(together)})
        kills += kill_at_each_pause(stack, victim, paused_folder, run_id, together)
        wrong += stack.airflow.wait_for_run("paused", run_id, timeout_s=600).state != "success"
        wrong += sum(task.state != "success" for task in stack.airflow.task_instances("paused", run_id))
        for n, pause in enumerate(together):
            result = stack.airflow.xcom("paused", run_id, "call", map_index=n)
            lost[pause.split("/")[0]] += not isinstance(result, dict) or result["n"] != f"{run_id}-{n}"

    print(f"\n| {victim} killed | kills | lost |\n| --- | --- | --- |")
    twice, left = started(stack) - known - len(pauses), subscriptions.names() - before
    for instant in instants:
        print(f"| {instant} | {kills[instant]} | {lost[instant]} |")
    print(f"\nStarted twice: {twice}. Inboxes left: {len(left)}. Ended wrongly: {wrong}.")
    assert (lost.total(), twice, wrong, left) == (0, 0, 0, set())
    assert all(kills[instant] for instant in instants)


def kill_at_each_pause(
    stack: LocalStack, victim: str, folder: Path, run_id: str, pauses: Sequence[str]
) -> Counter[str]:
    """Kill the victim whenever a call has paused; return how often at which instant.

    A worker dies with its scheduler, also where it is not its turn: the next try may find its call's
    completion and go by the instant.
    """
    kills = Counter[str]()
    waiting = {f"{run_id}-{n}": pause.split("/")[0] for n, pause in enumerate(pauses)}

    def paused() -> list[str]:
        return [key for key in waiting if (folder / key).exists()]

    def come_to_the_next() -> bool:
        return bool(paused()) or stack.airflow.run_state("paused", run_id).ended

    while waiting:
        wait_until(come_to_the_next, f"of {waiting}, a call pauses", timeout_s=300)
        if not paused():
            break
        (key,) = paused()
        lives = lives_of(stack, victim)
        stack.kill_component(victim)
        stack.restart_component(victim)
        wait_until(lambda lives=lives: is_up(stack, victim, lives + 1), f"the {victim} is back")
        kills[waiting.pop(key)] += 1
        (folder / f"{key}.go").touch()
        (folder / "turn").unlink()
    return kills


def lives_of(stack: LocalStack, name: str) -> int:
    """Return how often a component has started to work, as far as its log says so."""
    return (stack.logs_dir / f"{name}.log").read_text().count(STARTED.get(name, "never said"))


def is_up(stack: LocalStack, name: str, lives: int) -> bool:
    """Tell whether a component answers, or says that it works, in this of its lives."""
    if name in STARTED:
        return lives_of(stack, name) >= lives
    address = stack.service_url.removeprefix("http://") if name == "service" else stack.pubsub_host
    host, _, port = address.partition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
        return True
    return False
