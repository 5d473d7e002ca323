"""What a service tells whoever watches it. It is told at once, in the event loop, and must not wait."""

from __future__ import annotations

from typing import Protocol

from longcall.contract import CallState, ReportBody

__all__ = ["NullObserver", "Observer", "report_kind"]


def report_kind(body: ReportBody) -> str:
    """Return the word for what a report says: `accepted`, `progress`, `succeeded` and so on."""
    return type(body).__name__.lower()


class Observer(Protocol):
    """Is told what happens to calls, each time once. `handler` is the path of one."""

    def accepted(self, handler: str) -> None:
        """A new call is in the store; a repeated request is none."""
        ...

    def started(self, handler: str, *, waited_s: float) -> None:
        """An attempt begins, so long after the call was accepted."""
        ...

    def ended(self, handler: str, *, state: CallState, ran_s: float | None) -> None:
        """A call has its outcome, which is stored; `ran_s` of the last attempt, None: none was made."""
        ...

    def interrupted(self, handler: str) -> None:
        """An attempt ended without an outcome: its process died, or it was handed over."""
        ...

    def published(self, kind: str) -> None:
        """A report is out; `kind` as `report_kind` has it."""
        ...

    def publish_failed(self, kind: str, error: BaseException) -> None:
        """A report is not out, this time."""
        ...

    def answered(self, *, method: str, route: str, status: int) -> None:
        """A request is answered; `route` is the template of its path, empty where none is for it."""
        ...


class NullObserver:
    """Does nothing of what an `Observer` may do."""

    def accepted(self, handler: str) -> None:
        """Do nothing."""

    def started(self, handler: str, *, waited_s: float) -> None:
        """Do nothing."""

    def ended(self, handler: str, *, state: CallState, ran_s: float | None) -> None:
        """Do nothing."""

    def interrupted(self, handler: str) -> None:
        """Do nothing."""

    def published(self, kind: str) -> None:
        """Do nothing."""

    def publish_failed(self, kind: str, error: BaseException) -> None:
        """Do nothing."""

    def answered(self, *, method: str, route: str, status: int) -> None:
        """Do nothing."""
