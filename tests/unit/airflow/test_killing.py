"""A kill reaches the work that is in hand, once, and nothing else."""

from __future__ import annotations

import pytest

from longcall.airflow.killing import KillGuard, TaskKilled


def work(guard: KillGuard, done: list[str]) -> None:
    """Be killed in the middle, and again while cleaning up."""
    with guard:
        try:
            done.append("begun")
            guard.kill()
            done.append("gone on")
        finally:
            guard.kill()
            done.append("cleaned up")


def test_kill_ends_the_work_and_a_second_one_does_not_disturb_the_cleaning_up() -> None:
    done: list[str] = []
    with pytest.raises(TaskKilled):
        work(KillGuard(), done)
    assert done == ["begun", "cleaned up"]


def test_kill_before_and_after_the_work_does_nothing() -> None:
    guard = KillGuard()
    guard.kill()
    with guard:
        pass
    guard.kill()
