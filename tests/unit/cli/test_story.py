"""What the demo tells of what it sees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from longcall.cli.demo.story import Line, Story
from longcall.cli.stack import TaskInstance
from longcall.contract import Accepted, Cancelled, Failed, Problem, Progress, Report, ReportBody, Succeeded

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ID = "lc-abcdefghijklmnop"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def report(story: Story, body: ReportBody, *, second: float = 0, correlid: str = ID) -> list[str]:
    return texts(story.see_report(Report(correlation_id=correlid, body=body), published=at(second)))


def task(state: str | None, *, label: str = "random forest", ended: datetime | None = None) -> TaskInstance:
    return TaskInstance(
        task_id="train", map_index=0, state=state, try_number=1, started=at(0), ended=ended, label=label
    )


def see_task(story: Story, seen: TaskInstance, *, second: float = 0) -> list[str]:
    return texts(story.see_task(seen, correlid=ID, accepted_ms=12, now=at(second)))


def texts(lines: list[Line]) -> list[str]:
    return [f"{line.call}: {line.text}" for line in lines]


def told_to_the_end(story: Story) -> list[str]:
    return [
        *texts(story.see_inboxes([ID])),
        *report(story, Accepted(), second=1),
        *see_task(story, task("deferred"), second=2),
        *report(story, Progress(done=5, total=10, unit="folds", message="97 %"), second=5),
        *report(story, Succeeded.of({"accuracy": 0.97}), second=10),
        *see_task(story, task("success", ended=at(10.6)), second=11),
        *texts(story.see_inboxes([])),
    ]


def test_a_call_is_told_from_its_inbox_to_its_clean_up() -> None:
    assert told_to_the_end(Story()) == [
        "call lc-abcdefghi: inbox created",
        "call lc-abcdefghi: accepted by the service (202)",
        "random forest: worker released (call lc-abcdefghi, 202 after 12 ms)",
        "random forest: progress 50 %: 5/10 folds: 97 %",
        "random forest: completion published: succeeded",
        "random forest: resumed and finished 600 ms after the completion: task success",
        "random forest: inbox deleted",
    ]


def test_what_was_seen_is_told_once() -> None:
    story = Story()
    told_to_the_end(story)
    assert texts(story.see_inboxes([])) == []
    assert report(story, Accepted(), second=1) == []
    assert report(story, Succeeded.of({"accuracy": 0.97}), second=10) == []
    assert see_task(story, task("deferred"), second=2) == []
    assert see_task(story, task("success", ended=at(10.6)), second=12) == []


def test_the_reason_is_given_only_the_first_time() -> None:
    story = Story()
    first, second = story.see_inboxes(["lc-one", "lc-two"])
    assert first.why
    assert not second.why


def test_figures_are_those_of_the_call() -> None:
    story = Story()
    told_to_the_end(story)
    call = story.calls[ID]
    assert (call.accepted_ms, call.waited_s, call.resumed_ms, call.accuracy) == (12, 8.0, 600, 0.97)


def test_all_is_settled_only_when_the_last_inbox_is_gone() -> None:
    story = Story()
    assert not story.settled
    told_to_the_end(story)
    assert story.settled
    story.see_inboxes(["lc-another"])
    assert not story.settled


def test_a_failure_is_told_in_the_services_own_words() -> None:
    story = Story()
    body = Failed(problem=Problem(title="unknown model", detail="'x' is none of ours"))
    assert report(story, body) == ["call lc-abcdefghi: completion published: failed ('x' is none of ours)"]
    assert story.calls[ID].accuracy is None


def test_a_cancelled_call_is_told_as_such() -> None:
    assert report(Story(), Cancelled()) == ["call lc-abcdefghi: completion published: cancelled"]


def test_progress_is_told_by_the_quarter_and_kept_exactly() -> None:
    story = Story()
    told = [report(story, Progress(done=n, total=100, unit="folds")) for n in range(1, 101)]
    assert [line for lines in told for line in lines] == [
        f"call lc-abcdefghi: progress {percent} %: {percent}/100 folds" for percent in (25, 50, 75, 100)
    ]
    assert story.calls[ID].done == 100


def test_progress_that_arrives_late_does_not_go_back() -> None:
    story = Story()
    report(story, Progress(done=60, total=100))
    assert report(story, Progress(done=10, total=100)) == []
    assert story.calls[ID].done == 60


def test_progress_of_unknown_extent_is_no_error() -> None:
    assert report(Story(), Progress(done=3)) == []


def test_a_task_in_a_group_is_named_after_its_group() -> None:
    story = Story()
    seen = TaskInstance(
        task_id="extra_trees.wait_for_completion",
        map_index=-1,
        state="deferred",
        try_number=1,
        started=None,
        ended=None,
    )
    see_task(story, seen)
    assert story.calls[ID].title == "extra trees"


def test_the_winner_has_the_highest_accuracy() -> None:
    story = Story()
    assert story.winner is None
    report(story, Succeeded.of({"accuracy": 0.9}), correlid="lc-worse")
    report(story, Succeeded.of({"accuracy": 0.95}), correlid="lc-better")
    report(story, Succeeded.of("no accuracy at all"), correlid="lc-text")
    assert story.winner is story.calls["lc-better"]


def test_slots_are_those_of_the_moment_when_most_calls_waited() -> None:
    story = Story()
    for waiting, in_use in [(1, 0), (5, 2), (5, 0), (5, 1), (3, 0)]:
        story.see_slots(waiting=waiting, in_use=in_use)
    assert (story.most_waiting, story.slots_held) == (5, 0)
