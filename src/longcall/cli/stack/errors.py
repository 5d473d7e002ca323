"""What can go wrong with the local stack. Every error names what failed and where its log is."""

from __future__ import annotations

from pathlib import Path

from longcall._core.errors import LongcallError

__all__ = ["ComponentFailed", "StackError", "StackTimeout"]


class StackError(LongcallError):
    """The local stack, or a DAG run in it, did not do what was asked."""


class ComponentFailed(StackError):
    """A process of the stack ended although it should run.

    Attributes:
        component: its name, e.g. `scheduler`.
        status: its exit status; 128 + N when signal N ended it.
        log: where its whole output is.
    """

    def __init__(self, component: str, *, status: int, log: Path, last_lines: str) -> None:
        """Name the component, its status, its log and its last words."""
        self.component = component
        self.status = status
        self.log = log
        super().__init__(
            f"the {component} ended with status {status}; its log is {log} and ends with:\n{last_lines}"
        )


class StackTimeout(StackError):
    """Something of the stack took longer than it may."""
