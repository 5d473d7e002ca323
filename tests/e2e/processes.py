"""Processes that a test has started, or that those have started."""

from __future__ import annotations

import os
import select
from pathlib import Path

__all__ = ["WAIT_S", "parent_of", "wait_until_gone"]

WAIT_S = 30.0


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("PPid:")[1].split()[0])


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that need not be ours."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], WAIT_S)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)
