"""The subcommand: start the stack, run two DAGs, tell what happens, leave nothing behind."""

from __future__ import annotations

import argparse
import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from longcall._core.errors import LongcallError
from longcall.cli.demo.checks import check_environment
from longcall.cli.demo.errors import DemoFailed

if TYPE_CHECKING:
    from longcall.cli.demo.screen import Screen
    from longcall.cli.demo.story import Story
    from longcall.cli.stack import LocalStack

__all__ = ["add_parser", "run"]

DAG_IDS = ("pick_best_model", "four_steps")
_WORKER_SLOTS = 2
_RUNS_TIMEOUT_S = 240.0

_INTRODUCTION = """\
[bold]longcall demo[/bold]: Airflow calls a service that works for a while, and no worker waits for it.

Everything below is real and runs on this machine alone: a Pub/Sub broker, a service that trains
classifiers on scikit-learn's handwritten digits, and an Airflow with two worker slots. Two DAGs run
at once. [bold]pick_best_model[/bold] maps one call over four models and picks the best;
[bold]four_steps[/bold] makes one call in four tasks that you can see in the graph. Five calls on two slots.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="see it work: broker, service and a real Airflow on this machine, in under a minute",
        description="Start a broker, a service and a real Airflow on this machine, run two DAGs, show what "
        "happens, and leave nothing behind.",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave everything up until Ctrl-C and say how to open the Airflow page",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo and return its exit status.

    0: both DAG runs succeeded and nothing is left. 1: something failed; what, and where its log is, has
    been said.

    Raises:
        DemoUnavailable: a package is missing; nothing was started.
    """
    check_environment()
    # Not at the top: `longcall broker` must not pay for what only the demo needs.
    from longcall.cli.demo.screen import Screen
    from longcall.cli.demo.story import Story

    story = Story()
    with _interruptible_once(), Screen(story) as screen:
        screen.explain(_INTRODUCTION)
        stack = _make_stack(screen)
        try:
            with stack:
                _run_dags(stack, story, screen)
                if args.keep:
                    _wait_for_ctrl_c(stack, screen)
            _check_nothing_left(stack)
        except LongcallError as error:
            screen.fail(str(error))
            if stack.home.is_dir():
                screen.fail(f"everything is stopped; all logs are kept in {stack.home}")
            return 1
        screen.say(f"everything is stopped and the temporary folder is gone; {screen.elapsed_s:.0f} s in all")
    return 0


def _make_stack(screen: Screen) -> LocalStack:
    from longcall.cli.stack import LocalStack

    return LocalStack(
        dags_folder=Path(__file__).parent / "dags",
        service="longcall.cli.demo.service:service",
        env={
            "AIRFLOW_CONN_DIGITS": "{service_url}",
            # As many models at a time as there are cores: each gets one thread.
            "OMP_NUM_THREADS": "1",
        },
        airflow_config={
            "CORE__PARALLELISM": str(_WORKER_SLOTS),
            # A fifth of a second more until a task resumes, for a fifth of a core that can train models.
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        },
        on_event=screen.say,
    )


def _run_dags(stack: LocalStack, story: Story, screen: Screen) -> None:
    screen.say(f"all is up; starting the DAGs {' and '.join(DAG_IDS)}")
    try:
        left = asyncio.run(_watch(stack, story, screen))
    except LongcallError:
        stack.keep_home = True
        raise
    screen.summarise()
    winner = story.winner
    if winner is not None and winner.accuracy is not None:
        screen.say(f"winner: {winner.title}, {winner.accuracy:.2%} of unseen digits read right")
    screen.say(
        f"{story.most_waiting} calls waited at the same time; "
        f"of {_WORKER_SLOTS} worker slots, {story.slots_held} in use at that moment"
    )
    screen.say(f"subscriptions left: {len(left)}")
    if left:
        stack.keep_home = True
        raise DemoFailed(f"subscriptions were left behind: {', '.join(sorted(left))}")


async def _watch(stack: LocalStack, story: Story, screen: Screen) -> frozenset[str]:
    """Watch the DAG runs to their end and return the subscriptions that are left."""
    from longcall.cli.demo.inboxes import InboxList
    from longcall.cli.demo.watch import Watch
    from longcall.transport.pubsub import PubSubTransport

    transport = PubSubTransport(emulator_host=stack.pubsub_host)
    try:
        watch = Watch(stack, transport=transport, story=story, show=screen.show)
        await watch.run(DAG_IDS, timeout_s=_RUNS_TIMEOUT_S)
    finally:
        await transport.aclose()
    with InboxList(stack.pubsub_host, stack.project) as inboxes:
        return await asyncio.to_thread(inboxes.ids)


def _wait_for_ctrl_c(stack: LocalStack, screen: Screen) -> None:
    screen.say(f"all stays up. Airflow: {stack.airflow_url}")
    screen.say(f"log in as {stack.login.user} with the password {stack.login.password}")
    screen.say(f"service: {stack.service_url}; broker: PUBSUB_EMULATOR_HOST={stack.pubsub_host}")
    screen.say(f"logs: {stack.logs_dir}")
    screen.say("press Ctrl-C to stop everything")
    try:
        while True:
            stack.check()
            threading.Event().wait(0.5)
    except KeyboardInterrupt:
        screen.say("stopping")


def _check_nothing_left(stack: LocalStack) -> None:
    if stack.home.exists():
        raise DemoFailed(f"the temporary folder could not be removed: {stack.home}")


@contextmanager
def _interruptible_once() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM raise KeyboardInterrupt; no other may disturb the clean-up after it."""

    def interrupt(_number: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
