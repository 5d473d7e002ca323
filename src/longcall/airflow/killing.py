"""A kill of the worker's task, as an exception in the middle of what it does.

Airflow calls `on_kill` from a signal handler, in the middle of anything, and goes on with the task when it
returns; five seconds later the process is killed. Raised there, the kill ends the work in hand, and whoever
started the call cleans up on the way out.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from longcall.airflow.version_compat import AirflowException

__all__ = ["KILL_PATIENCE_S", "KillGuard", "TaskKilled"]

KILL_PATIENCE_S: Final = 3.0
"""Of the five seconds that Airflow gives a killed task."""


class TaskKilled(AirflowException):
    """The task was ended from outside while it started its call, or waited for it in the worker."""


class KillGuard:
    """Armed within its `with`; a kill disarms it."""

    def __init__(self) -> None:
        self._is_armed = False

    def __enter__(self) -> Self:
        """Arm it."""
        self._is_armed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disarm it."""
        self._is_armed = False

    def kill(self) -> None:
        """Do nothing, unless it is armed.

        Raises:
            TaskKilled: it was.
        """
        if self._is_armed:
            self._is_armed = False
            raise TaskKilled("the task was killed while it started or waited for its call")
