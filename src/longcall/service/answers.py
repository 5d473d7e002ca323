"""How a child process answers: lines of JSON, what it reports a few times a second, the outcome last."""

from __future__ import annotations

import json
import os
import threading
from typing import Final

from longcall.contract import JsonValue, Log, LogLine, Progress
from longcall.contract.log import log_to_wire
from longcall.contract.progress import progress_to_wire
from longcall.service.log_lines import LogBuffer

__all__ = ["AnswerWriter"]

_INTERVAL_S: Final = 0.1


class AnswerWriter:
    """Writes to the parent. The threads that report do not wait for the one that writes."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor and start the writing thread; `close` ends both."""
        self._descriptor = descriptor
        self._latest: Progress | None = None
        self._log = LogBuffer()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closing = threading.Event()
        # A daemon: a handler that ends its process by itself is not to be held up.
        self._thread = threading.Thread(target=self._write_reports, name="longcall-reports", daemon=True)
        self._thread.start()

    def put(self, said: Progress | LogLine) -> None:
        """Have it written; of progress, the newest when its turn comes. Any thread may call this."""
        with self._lock:
            if isinstance(said, Progress):
                self._latest = said
            else:
                self._log.put(said)
        self._changed.set()

    def close(self, outcome: dict[str, JsonValue]) -> None:
        """Write what is due, then the outcome, and close."""
        self._closing.set()
        self._changed.set()
        self._thread.join()
        self._write(outcome)
        os.close(self._descriptor)

    def _write_reports(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            with self._lock:
                progress, self._latest = self._latest, None
                lines = self._log.take()
            if progress is not None:
                self._write({"progress": progress_to_wire(progress)})
            if lines:
                self._write({"log": log_to_wire(Log(lines=tuple(lines)))})
            if progress is None and not lines and self._closing.is_set():
                return
            if self._closing.wait(_INTERVAL_S):
                self._changed.set()

    def _write(self, answer: dict[str, JsonValue]) -> None:
        rest = memoryview(json.dumps(answer).encode() + b"\n")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
