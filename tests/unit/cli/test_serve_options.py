"""What the command line of a service makes of its options, and where they are written down."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from longcall.cli import loading, serve

DOCS = Path(__file__).parents[3] / "docs"
TOPIC = "projects/p/topics/completions"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser()
    serve.add_parser(found.add_subparsers())
    return found


def test_limits_reach_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGCALL_STORE", "/var/calls")
    limits = ["--max-processes", "3", "--max-waiting", "50", "--keep-calls", "100", "--keep-days", "0.5"]
    args = parser().parse_args(["serve", "m:s", "--topic", TOPIC, "--drain", "0", *limits])
    config = loading.config_of(args)
    assert (config.max_processes, config.max_waiting) == (3, 50)
    assert (config.max_ended, config.max_ended_age_s) == (100, 12 * 3600)
    assert (config.store, config.drain_s) == ("/var/calls", 0)


def test_every_option_is_written_down() -> None:
    pages = [DOCS / "reference" / "service.md", DOCS / "how-to" / "serve-a-command.md"]
    written = {name for page in pages for name in re.findall(r"--[a-z][a-z-]+", page.read_text())}
    assert options() <= written


def options() -> set[str]:
    found = argparse.ArgumentParser(add_help=False)
    serve.add_parser(found.add_subparsers())
    (subcommands,) = [a for a in found._actions if isinstance(a, argparse._SubParsersAction)]
    own = subcommands.choices["serve"]._actions
    return {name for action in own for name in action.option_strings if name.startswith("--")} - {"--help"}
