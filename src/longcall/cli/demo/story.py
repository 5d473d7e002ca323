"""What has happened to each call of the demo, in the order in which it was seen. Pure.

Three sources are watched: the topic, the broker's list of inboxes, and Airflow's
task instances. What they show becomes views of the calls, and lines for a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from longcall.cli.stack import TaskInstance
from longcall.contract import Accepted, Cancelled, Failed, JsonValue, Progress, Report, Succeeded

__all__ = ["CallView", "Line", "Story"]

_WHY = {
    "inbox": "The inbox comes first, so an answer cannot come too early. It lets through this one id only.",
    "accepted": "The service answers the request at once and works on. Nobody holds a connection open.",
    "released": "From here on the call costs no worker: it waits in the triggerer, with all the others.",
    "completed": "When the work ends, the service publishes one message that carries the call's id.",
    "resumed": "The message wakes the task; a worker takes the result, and for a moment only.",
    "deleted": "What a call made, it removes: no subscription is left behind.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that happened.

    Attributes:
        call: name or shortened id of the call.
        text: what happened, in a few words.
        why: why it matters; only the first time that it happens.
    """

    call: str
    text: str
    why: str = ""


@dataclass(slots=True, kw_only=True)
class CallView:
    """One call as the audience knows it. Instants are aware, in UTC.

    Attributes:
        correlid: its correlation id.
        name: of the model, once Airflow has told.
        accepted_ms: how long the service took to answer the request.
        accepted_at: when the service took it on.
        done: steps finished.
        total: of how many; 0: not known yet.
        note: the service's own last words.
        released_at: when its task was first seen waiting without a worker.
        completed_at: when its completion was published.
        outcome: `succeeded`, `failed` or `cancelled`; empty while it works.
        finished_at: when the resumed task had ended.
        inbox_deleted: whether its inbox is gone.
        accuracy: of its result, between 0 and 1.
    """

    correlid: str
    name: str = ""
    accepted_ms: int | None = None
    accepted_at: datetime | None = None
    done: float = 0
    total: float = 0
    note: str = ""
    released_at: datetime | None = None
    completed_at: datetime | None = None
    outcome: str = ""
    finished_at: datetime | None = None
    inbox_deleted: bool = False
    accuracy: float | None = None

    @property
    def title(self) -> str:
        """The name, as long as there is none the beginning of the id."""
        return self.name or f"call {self.short_id}"

    @property
    def short_id(self) -> str:
        """The beginning of the id, enough to tell a handful of calls apart."""
        return self.correlid[:12]

    @property
    def waited_s(self) -> float | None:
        """Seconds from letting go of the worker to the completion."""
        if self.released_at is None or self.completed_at is None:
            return None
        return max(0.0, (self.completed_at - self.released_at).total_seconds())

    @property
    def resumed_ms(self) -> int | None:
        """Milliseconds from the publication of the completion to the end of the resumed task."""
        if self.completed_at is None or self.finished_at is None:
            return None
        return max(0, round((self.finished_at - self.completed_at).total_seconds() * 1000))


@dataclass(slots=True)
class Story:
    """Every call seen so far, by correlation id, and what is told about them.

    Each method takes what one source shows and returns the lines that are new.
    Seeing the same thing again returns nothing.
    """

    calls: dict[str, CallView] = field(default_factory=dict)
    most_waiting: int = 0
    slots_held: int = 0
    _told: set[str] = field(default_factory=set)

    def see_inboxes(self, ids: Iterable[str]) -> list[Line]:
        """Take the ids of all inboxes that exist now; an inbox carries the id of its call.

        A call that is known has had its inbox, since that comes first: without one, it is deleted. So
        listings must be given in the order in which they were made.
        """
        present = frozenset(ids)
        new = sorted(present - self.calls.keys())
        lines = [self._line("inbox", self._call(correlid), "inbox created") for correlid in new]
        for call in self.calls.values():
            if call.correlid not in present and not call.inbox_deleted:
                call.inbox_deleted = True
                lines.append(self._line("deleted", call, "inbox deleted"))
        return lines

    def see_report(self, report: Report, *, published: datetime) -> list[Line]:
        """Take a report that the service published at `published`."""
        call = self._call(report.correlation_id)
        match report.body:
            case Accepted() if call.accepted_at is None:
                call.accepted_at = published
                return [self._line("accepted", call, "accepted by the service (202)")]
            case Progress(done=done, total=total, unit=unit, message=message):
                return self._see_progress(call, done, total or 0, f"{unit}: {message}" if message else unit)
            case Succeeded() as body if not call.outcome:
                result = body.value()
                call.accuracy = _accuracy(result) if not isinstance(result, bytes) else None
                return self._see_completion(call, "succeeded", published)
            case Failed(problem=problem) if not call.outcome:
                call.note = problem.detail or problem.title
                return self._see_completion(call, "failed", published)
            case Cancelled() if not call.outcome:
                return self._see_completion(call, "cancelled", published)
            case _:
                return []

    def see_task(self, task: TaskInstance, *, correlid: str, accepted_ms: int, now: datetime) -> list[Line]:
        """Take the state of the task that waits for a call.

        Args:
            task: as Airflow shows it.
            correlid: of the call that it waits for.
            accepted_ms: as the task measured it; 0: not yet.
            now: when it was seen.
        """
        call = self._call(correlid)
        call.name = call.name or task_title(task)
        lines = []
        if accepted_ms and call.accepted_ms is None:
            call.accepted_ms = accepted_ms
        if task.state == "deferred" and call.released_at is None:
            call.released_at = now
            answered = f", 202 after {call.accepted_ms} ms" if call.accepted_ms else ""
            lines.append(self._line("released", call, f"worker released (call {call.short_id}{answered})"))
        if task.state in {"success", "failed"} and call.finished_at is None:
            call.finished_at = task.ended or now
            took = f" {call.resumed_ms} ms after the completion" if call.completed_at else ""
            lines.append(self._line("resumed", call, f"resumed and finished{took}: task {task.state}"))
        return lines

    def see_slots(self, *, waiting: int, in_use: int) -> None:
        """Take how many tasks wait deferred, and how many worker slots are in use at the same moment."""
        if waiting > self.most_waiting:
            self.most_waiting, self.slots_held = waiting, in_use
        elif waiting == self.most_waiting:
            self.slots_held = min(self.slots_held, in_use)

    @property
    def settled(self) -> bool:
        """Whether every call has a completion, a finished task and no inbox."""
        return bool(self.calls) and all(
            call.outcome and call.finished_at and call.inbox_deleted for call in self.calls.values()
        )

    @property
    def winner(self) -> CallView | None:
        """The call with the highest accuracy, None if there is no result."""
        rated = [call for call in self.calls.values() if call.accuracy is not None]
        return max(rated, key=lambda call: call.accuracy or 0.0, default=None)

    def _call(self, correlid: str) -> CallView:
        return self.calls.setdefault(correlid, CallView(correlid=correlid))

    def _see_progress(self, call: CallView, done: float, total: float, note: str) -> list[Line]:
        quarter_before = _quarter(call.done, call.total)
        call.done, call.total, call.note = max(done, call.done), total, note
        quarter = _quarter(call.done, call.total)
        if quarter == quarter_before:
            return []
        return [
            self._line("progress", call, f"progress {quarter * 25} %: {call.done:g}/{call.total:g} {note}")
        ]

    def _see_completion(self, call: CallView, outcome: str, published: datetime) -> list[Line]:
        call.outcome, call.completed_at = outcome, published
        text = f"completion published: {outcome}"
        if outcome == "failed":
            text += f" ({call.note})"
        return [self._line("completed", call, text)]

    def _line(self, kind: str, call: CallView, text: str) -> Line:
        why = "" if kind in self._told else _WHY.get(kind, "")
        self._told.add(kind)
        return Line(call=call.title, text=text, why=why)


def task_title(task: TaskInstance) -> str:
    """Return what a person calls the task: its label in the map, else its group's name."""
    return task.label or task.task_id.partition(".")[0].replace("_", " ")


def _quarter(done: float, total: float) -> int:
    return int(4 * done / total) if total else 0


def _accuracy(result: JsonValue) -> float | None:
    value = result.get("accuracy") if isinstance(result, dict) else None
    return value if isinstance(value, float) else None
