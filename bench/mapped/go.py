"""The instant at which everything was in flight."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["note_go"]


def note_go() -> None:
    """Say that all are there now."""
    Path(os.environ["BENCH_GO"]).write_text(repr(time.time()))
