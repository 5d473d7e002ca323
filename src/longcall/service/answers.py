"""How a child process answers: lines of JSON, the latest progress a few times a second, the outcome last."""

from __future__ import annotations

import json
import os
import threading
from typing import Final

from longcall.contract import JsonValue, Progress
from longcall.contract.progress import progress_to_wire

__all__ = ["AnswerWriter"]

_INTERVAL_S: Final = 0.1


class AnswerWriter:
    """Writes to the parent. The thread that reports progress does not wait for the one that writes."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor and start the writing thread; `close` ends both."""
        self._descriptor = descriptor
        self._latest: Progress | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        # A daemon: a handler that ends its process by itself is not to be held up.
        self._thread = threading.Thread(target=self._write_progress, name="longcall-progress", daemon=True)
        self._thread.start()

    def put(self, progress: Progress) -> None:
        """Have `progress` written, unless a newer one comes before its turn. Any thread may call this."""
        with self._lock:
            self._latest = progress
        self._changed.set()

    def close(self, outcome: dict[str, JsonValue]) -> None:
        """Write what progress is due, then the outcome, and close."""
        self._closing.set()
        self._changed.set()
        self._thread.join()
        self._write(outcome)
        os.close(self._descriptor)

    def _write_progress(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            with self._lock:
                progress, self._latest = self._latest, None
            if progress is not None:
                self._write({"progress": progress_to_wire(progress)})
            elif self._closing.is_set():
                return
            if self._closing.wait(_INTERVAL_S):
                self._changed.set()

    def _write(self, answer: dict[str, JsonValue]) -> None:
        rest = memoryview(json.dumps(answer).encode() + b"\n")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
