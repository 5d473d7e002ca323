"""Commands as handlers, with real processes: each call has an outcome, and leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.e2e.processes import wait_until_gone

from longcall._core.clock import SystemClock
from longcall.contract import CallRequest, LogLine, Progress, Succeeded
from longcall.service import CallFailed
from longcall.service.command import CommandSpec, run_command
from longcall.service.log_lines import LogWriter

WAIT_S = 60.0
RUNS_ONE = """
import asyncio, sys
from longcall.contract import CallRequest
from longcall.service.command import CommandSpec, run_command

spec = CommandSpec(argv=("sh", "-c", sys.argv[1]))
asyncio.run(
    run_command(
        spec,
        CallRequest(correlation_id="a"),
        attempt=1,
        on_progress=print,
        on_log=lambda level, text: print(text, flush=True) is None,
    )
)
"""


class Told:
    """What a command has told."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.lines: list[tuple[str, str]] = []
        self._news = asyncio.Event()

        self._writer = LogWriter(self._take, clock=SystemClock())

    def on_log(self, level: str, text: str) -> bool:
        return self._writer.write(text, level=level)

    def _take(self, line: LogLine) -> None:
        self.lines.append((line.level, line.message))
        self._news.set()

    async def line(self, number: int = 0) -> str:
        async with asyncio.timeout(WAIT_S):
            while len(self.lines) <= number:
                self._news.clear()
                await self._news.wait()
        return self.lines[number][1]


def start(
    script: str, *, told: Told | None = None, body: bytes = b"", argv: tuple[str, ...] = (), **options: object
) -> asyncio.Task[Succeeded]:
    told = told or Told()
    spec = CommandSpec(argv=argv or ("sh", "-c", script.replace("{", "{{").replace("}", "}}")), **options)  # type: ignore[arg-type]
    request = CallRequest(correlation_id="a", body=body)
    work = run_command(spec, request, attempt=2, on_progress=told.progress.append, on_log=told.on_log)
    return asyncio.create_task(work)


async def run(script: str, **options: object) -> Succeeded:
    return await asyncio.wait_for(start(script, **options), WAIT_S)  # type: ignore[arg-type]


async def failure(script: str, **options: object) -> CallFailed:
    with pytest.raises(CallFailed) as raised:
        await run(script, **options)
    return raised.value


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
async def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_descriptors()
    yield
    for _ in range(10):  # transports close in the next turns of the loop
        await asyncio.sleep(0)
    assert open_descriptors() <= before
    assert not [name for name in os.listdir(tmp_path) if name.startswith("longcall-")]  # noqa: PTH208


async def test_arguments_reach_argv_environment_and_standard_input() -> None:
    body = b'{"date": "2026-01-31; rm -rf $HOME", "model": {"name": "svc"}, "n": 3}'
    said = 'printf "%s|" "$@" "$LONGCALL_ID" "$LONGCALL_ATTEMPT" "$LONGCALL_ARG_DATE" "$LONGCALL_ARG_N"; cat'
    argv = ("sh", "-c", said, "sh", "--date={date}", "{model.name}", "{n}", "{{}}")
    result = await run("", argv=argv, body=body, stdin=True, result="last-line")
    date = "2026-01-31; rm -rf $HOME"
    assert result.value() == f"--date={date}|svc|3|{{}}|a|2|{date}|3|{body.decode()}"
    assert (await run('echo "$LONGCALL_ARGUMENTS"', body=b'{"n": 3}')).value() == {"n": 3}
    assert (await run("cat; echo end")).value() == "end"


async def test_ten_megabytes_of_standard_input_may_be_read_or_left() -> None:
    assert (await run("wc -c", body=b"\xff" * 10_000_000, stdin=True)).value() == 10_000_000
    assert (await run("echo done", body=b"x" * 10_000_000, stdin=True)).value() == "done"


async def test_input_that_is_left_leaves_no_unheard_error(caplog: pytest.LogCaptureFixture) -> None:
    assert (await run("exec <&-; echo done", body=b"x" * 10_000_000, stdin=True)).value() == "done"
    gc.collect()
    await asyncio.sleep(0)
    assert not caplog.records


async def test_lines_are_log_or_progress() -> None:
    told = Told()
    await run("echo one; echo '::progress 3/10 three done'; echo '::warning hot'; echo oh >&2", told=told)
    assert told.progress == [Progress(done=3, total=10, message="three done")]
    assert sorted(told.lines) == [("info", "one"), ("warning", "hot"), ("warning", "oh")]


@pytest.mark.parametrize(
    ("script", "options", "value"),
    [
        ("echo '{\"a\": 1}'", {}, {"a": 1}),
        ("echo first; echo last", {}, "last"),
        ("true", {}, None),
        ("echo line; printf '[1]' > $LONGCALL_RESULT", {}, [1]),
        ("printf 'two\\nlines' > $LONGCALL_RESULT", {}, "two\nlines"),
        ("printf '\\377' > $LONGCALL_RESULT", {}, b"\xff"),
        ("printf '[1]' > $LONGCALL_RESULT; echo line", {"result": "last-line"}, "line"),
        ("echo line", {"result": "none"}, None),
        ("printf '[1]' > $LONGCALL_RESULT", {"result_type": "text/x-list"}, "[1]"),
    ],
)
async def test_result(script: str, options: dict[str, object], value: object) -> None:
    assert (await run(script, **options)).value() == value


@pytest.mark.parametrize(
    "script",
    [
        "mkfifo $LONGCALL_RESULT",
        "ln -s /etc/passwd $LONGCALL_RESULT",
        "mkdir $LONGCALL_RESULT",
        "head -c 20000000 /dev/zero > $LONGCALL_RESULT",
        "head -c 100000 /dev/zero | tr '\\0' x",
    ],
)
async def test_result_that_is_none_fails_for_good(script: str) -> None:
    failed = await failure(script)
    assert (failed.problem.title, failed.retryable) == ("Bad result", False)


async def test_missing_result_file_fails_if_it_was_asked_for() -> None:
    assert "$LONGCALL_RESULT" in (await failure("echo line", result="file")).problem.detail


@pytest.mark.parametrize(
    ("script", "title", "code", "retryable"),
    [
        ("echo why >&2; exit 3", "The command failed", "exit-3", False),
        ("echo why >&2; exit 75", "The command failed", "exit-75", True),
        ("echo why >&2; kill -SEGV $$", "The command was killed", "signal-11", True),
    ],
)
async def test_exit_status_decides(script: str, title: str, code: str, retryable: bool) -> None:
    failed = await failure(script)
    assert (failed.problem.title, failed.problem.code, failed.retryable) == (title, code, retryable)
    assert failed.problem.detail.endswith("why")


async def test_command_that_cannot_start_fails(tmp_path: Path) -> None:
    script = tmp_path / "no-interpreter"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    for program, why in (("/nowhere/x", "No such file"), (str(tmp_path), "Permission"), (str(script), "#!")):
        failed = await failure("", argv=(program,))
        assert (failed.problem.title, failed.retryable) == ("The command did not start", False)
        assert why in failed.problem.detail


@pytest.mark.parametrize(
    "script",
    [
        "head -c 100000000 /dev/zero; echo; echo end",
        "head -c 3000000 /dev/urandom; echo; echo end",
        "exec 3>&1 >&- 2>&-; sleep 0.1; echo end >&3",
        "yes | head -n 300000; echo end",
    ],
    ids=["a line of 100 MB", "binary", "closed output", "many lines"],
)
async def test_output_of_any_kind_is_bounded(script: str) -> None:
    told = Told()
    assert (await run(script, told=told)).value() == "end"
    assert len(told.lines) < 1000
    assert all(len(text) < 300_000 for _, text in told.lines)


async def test_output_without_end_is_cancelled() -> None:
    told = Told()
    task = start("exec yes", told=told)
    await told.line(100)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, WAIT_S)


@pytest.mark.parametrize("away", ["", "setsid "], ids=["child", "daemon"])
async def test_what_a_command_leaves_running_is_killed(away: str) -> None:
    told = Told()
    result = await run(f"{away}sleep 1000 & echo $!; pgrep -s 0 > /dev/null; echo end", told=told)
    assert result.value() == "end"
    wait_until_gone(int(await told.line()))


async def test_pipes_between_commands_end_as_in_a_shell() -> None:
    assert (await run("yes | head -n 1")).value() == "y"


async def _cancelled(task: asyncio.Task[Succeeded]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, WAIT_S)


async def test_cancel_is_sigterm_to_the_whole_group_and_leaves_time_to_clean_up(tmp_path: Path) -> None:
    told, mark = Told(), tmp_path / "mark"
    # The shell itself dies at once; its child cleans up and needs a moment.
    child = f"trap 'sleep 0.3; echo cleaned > {mark}; exit' TERM; echo ready; while :; do sleep 0.05; done"
    task = start(f'sh -c "{child}"; true', told=told, grace_s=WAIT_S)
    assert await told.line() == "ready"
    await _cancelled(task)
    assert mark.read_text() == "cleaned\n"


async def test_cancel_kills_what_does_not_heed_it() -> None:
    told = Told()
    task = start("trap '' TERM; sleep 1000 & echo $$; echo $!; wait; wait", told=told, grace_s=0.2)
    pids = [int(await told.line(number)) for number in range(2)]
    await _cancelled(task)
    for pid in pids:
        wait_until_gone(pid)


async def test_cancel_ends_a_stopped_command() -> None:
    told = Told()
    task = start("echo $$; kill -STOP $$", told=told, grace_s=WAIT_S)
    pid = int(await told.line())
    await _cancelled(task)
    wait_until_gone(pid)


async def test_guard_that_is_killed_fails_the_call_and_takes_the_command_along() -> None:
    told = Told()
    task = start("echo $$; echo $PPID; exec sleep 1000", told=told)
    command, guard = int(await told.line(0)), int(await told.line(1))
    os.kill(guard, signal.SIGKILL)
    with pytest.raises(CallFailed, match="guard died") as raised:
        await asyncio.wait_for(task, WAIT_S)
    assert raised.value.retryable
    wait_until_gone(command)


@pytest.mark.parametrize("away", ["", "setsid "], ids=["child", "daemon"])
def test_kill_9_of_the_service_takes_the_command_and_its_children_along(tmp_path: Path, away: str) -> None:
    script = f"trap '' TERM; {away}sleep 1000 & echo $!; echo $$; echo $PPID; echo $LONGCALL_RESULT; wait"
    service = subprocess.Popen(
        [sys.executable, "-c", RUNS_ONE, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert service.stdout is not None
    with service.stdout as output:
        pids = [int(output.readline()) for _ in range(3)]
        result = Path(output.readline().strip())
        service.kill()
        service.wait(WAIT_S)
    for pid in pids:
        wait_until_gone(pid)
    assert not result.parent.exists()
