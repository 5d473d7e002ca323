"""Runs a command for one call, under a guard that ends it with the service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from longcall.contract import CallRequest, LogLevel, Progress, Succeeded
from longcall.service.arguments import InvalidArguments
from longcall.service.call import MAX_RESULT_BYTES
from longcall.service.command.lines import Line, LineSplitter, Tail, parse_line
from longcall.service.command.outcome import check_exit, not_started, result_of_file, result_of_line
from longcall.service.command.spec import CommandSpec
from longcall.service.errors import CallFailed

__all__ = ["OnLog", "run_command"]

OnLog = Callable[[str, str], bool]
"""Told of each line for the log: its level (debug, info, warning, error) and its text. False: too many."""

_GUARD: Final = str(Path(__file__).with_name("guard.py"))
_CHUNK_BYTES: Final = 65_536
_LAST_WORDS_S: Final = 2.0
"""To read what an ended command left in its pipes. Not longer: a process that got away may hold them open."""
_GUARD_SLACK_S: Final = 5.0
_PAUSE_S: Final = 0.01
"""After each chunk of a command that prints more than is told: it is slowed down, and nobody else is."""


@dataclass(slots=True)
class _Output:
    """What one of the command's streams has brought."""

    level: LogLevel
    on_progress: Callable[[Progress], None] | None
    on_log: OnLog
    last: Line | None = None
    tail: Tail = field(default_factory=Tail)
    _splitter: LineSplitter = field(default_factory=LineSplitter)
    _is_too_much: bool = False

    async def read(self, stream: asyncio.StreamReader) -> None:
        try:
            while chunk := await stream.read(_CHUNK_BYTES):
                for line in self._splitter.feed(chunk):
                    self._take(line)
                await asyncio.sleep(_PAUSE_S if self._is_too_much else 0)
        finally:
            for line in self._splitter.end():
                self._take(line)

    def _take(self, line: Line) -> None:
        said = parse_line(line.text, level=self.level) if self.on_progress else None
        if isinstance(said, Progress):
            assert self.on_progress is not None
            self.on_progress(said)
            return
        self.tail.add(line.text)
        if line.text.strip():
            self.last = line
            level, text = (said.level, said.message) if said else (self.level, line.text)
            self._is_too_much = not self.on_log(level, f"{text}…" if line.is_cut else text)


async def run_command(
    spec: CommandSpec,
    request: CallRequest,
    *,
    attempt: int,
    on_progress: Callable[[Progress], None],
    on_log: OnLog,
    max_result_bytes: int = MAX_RESULT_BYTES,
) -> Succeeded:
    """Run a command for a call. Cancelling stops it: SIGTERM to its group, SIGKILL after `spec.grace_s`.

    When the command ends, what it leaves running is killed. When this process is killed, all of it is too.

    Args:
        spec: what to run.
        request: the call.
        attempt: which run this is.
        on_progress: told of each line of progress.
        on_log: told of every other line; those of standard error are warnings.
        max_result_bytes: a larger result file fails the call.

    Raises:
        CallFailed: the command failed, or could not be started, or its result cannot be sent.
    """
    try:
        spec.check(request.body)
        words = spec.words(request.body)
    except InvalidArguments as error:
        raise CallFailed("Bad arguments", detail=str(error), code="arguments", retryable=False) from error
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="longcall-"))
    try:
        result_file = folder / "result"
        variables = {**spec.variables(request, attempt=attempt), "LONGCALL_RESULT": str(result_file)}
        output = _Output("info", on_progress, on_log)
        errors = _Output("warning", None, on_log)
        status = await _Process(spec, words, folder, variables).run(request.body, output, errors)
        check_exit(status, retry_statuses=spec.retry_statuses, last_words=str(errors.tail))
        return await asyncio.to_thread(_result, spec, result_file, output.last, max_result_bytes)
    finally:
        # Not awaited: a second cancellation must not leave it. The guard removes it if we are killed.
        shutil.rmtree(folder, ignore_errors=True)


def _result(spec: CommandSpec, path: Path, last: Line | None, max_bytes: int) -> Succeeded:
    if spec.result == "none":
        return Succeeded.of(None)
    data = None if spec.result == "last-line" else _read_result(path, max_bytes)
    if data is not None:
        return result_of_file(data, content_type=spec.result_type, max_bytes=max_bytes)
    if spec.result == "file":
        why = "the command has not written the file $LONGCALL_RESULT"
        raise CallFailed("No result", detail=why, code="result", retryable=False)
    return result_of_line(last)


def _read_result(path: Path, max_bytes: int) -> bytes | None:
    """Return what the command wrote, a byte more than fits at most; None if it wrote nothing there."""
    try:
        # The command may have put anything there: a pipe must not block, a link must not lead us elsewhere.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_file(str(error.strerror)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file("not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(max_bytes + 1)


def _no_file(why: str) -> CallFailed:
    return CallFailed("Bad result", detail=f"$LONGCALL_RESULT: {why}", code="result", retryable=False)


class _Process:
    """A guard and the command under it."""

    def __init__(self, spec: CommandSpec, words: list[str], folder: Path, variables: dict[str, str]) -> None:
        self._spec = spec
        self._words = words
        self._folder = folder
        # Python prints at once then, as a person at a terminal sees it; others have stdbuf -oL.
        self._environment = {"PYTHONUNBUFFERED": "1", **os.environ, **variables}
        self._pid: int | None = None
        self._status: int | None = None
        self._errno: int | None = None

    async def run(self, body: bytes, output: _Output, errors: _Output) -> int:
        """Return the command's exit status, -N when signal N ended it."""
        with ExitStack() as unless_started:
            control_reading, control = os.pipe()
            told, told_writing = os.pipe()
            for ours in (control, told):
                unless_started.callback(os.close, ours)
            try:
                guard = await self._start(control_reading, told_writing)
            finally:
                os.close(control_reading)
                os.close(told_writing)
            unless_started.pop_all()
        assert guard.stdout is not None  # both are pipes
        assert guard.stderr is not None
        reading = {
            asyncio.create_task(output.read(guard.stdout)),
            asyncio.create_task(errors.read(guard.stderr)),
        }
        telling = asyncio.create_task(self._listen(told))
        feeding = asyncio.create_task(_feed(guard, body if self._spec.stdin else b""))
        try:
            await asyncio.wait({telling})
            await asyncio.wait(reading, timeout=_LAST_WORDS_S)
        finally:
            if not telling.done():
                os.write(control, b"T")
                await asyncio.wait({telling}, timeout=self._spec.grace_s + _GUARD_SLACK_S)
            os.close(control)
            await self._end(guard)
            await asyncio.wait({feeding}, timeout=_LAST_WORDS_S)  # nobody reads now: it ends at once
            for task in (telling, feeding, *reading):
                task.cancel()
            await asyncio.wait({telling, feeding, *reading})
            guard._transport.close()  # type: ignore[attr-defined] # its pipes, which others may hold open
        return self._outcome()

    async def _start(self, control: int, told: int) -> asyncio.subprocess.Process:
        options = (str(control), str(told), str(self._spec.grace_s), str(self._folder))
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _GUARD, *options, *self._words),
                stdin=asyncio.subprocess.PIPE if self._spec.stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(control, told),
                start_new_session=True,
                env=self._environment,
                limit=_CHUNK_BYTES,
            )
        except OSError as error:
            raise not_started(sys.executable, error.errno or 0) from error

    async def _listen(self, told: int) -> None:
        """Take down what the guard tells, until it ends."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(told, "rb", 0)
        )
        try:
            async for line in stream:
                what = json.loads(line)
                self._pid = what.get("pid", self._pid)
                self._status = what.get("status", self._status)
                self._errno = what.get("errno", self._errno)
        finally:
            transport.close()

    async def _end(self, guard: asyncio.subprocess.Process) -> None:
        """See the guard to its end; should it be dead or hang, kill its command ourselves."""
        exit_ = asyncio.create_task(guard.wait())
        await asyncio.wait({exit_}, timeout=_GUARD_SLACK_S)
        exit_.cancel()
        with suppress(ProcessLookupError, PermissionError):
            if guard.returncode is None:
                guard.kill()
        if self._status is None and self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _outcome(self) -> int:
        if self._errno is not None:
            raise not_started(self._words[0], self._errno)
        if self._status is None:
            raise CallFailed(
                "The command's guard died", detail="and the command with it", code="process-died"
            )
        return self._status


async def _feed(guard: asyncio.subprocess.Process, body: bytes) -> None:
    """Write the body to the command; one that does not read it to its end may."""
    if guard.stdin is None:
        return
    with suppress(ConnectionError):
        guard.stdin.write(body)
        await guard.stdin.drain()
    guard.stdin.close()
    with suppress(ConnectionError):  # asyncio keeps it a second time, and logs it if nobody asks
        await guard.stdin.wait_closed()
