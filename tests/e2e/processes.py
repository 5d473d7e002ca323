"""Processes that a test has started, or that those have started."""

from __future__ import annotations

import os
import select

__all__ = ["WAIT_S", "wait_until_gone"]

WAIT_S = 30.0


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
