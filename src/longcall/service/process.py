"""Runs a synchronous handler in a child process that can be killed.

The child is told what to run by one line of JSON on its standard input, and
answers by lines of JSON on a pipe of its own, and a large result in a file that
has no name; its output is the service's. No pickle anywhere. It leads a process
group, so that what it starts ends with it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import operator
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, TypeAlias

from longcall.contract import (
    CallRequest,
    ContractError,
    JsonValue,
    Log,
    Problem,
    Progress,
    Succeeded,
    decode_json,
)
from longcall.contract.json import whole_number
from longcall.contract.log import log_from_wire
from longcall.contract.progress import progress_from_wire
from longcall.contract.reference import reference_from_wire
from longcall.service.call import Handler
from longcall.service.errors import CallFailed, ServiceConfigError
from longcall.service.logs import LogContext, LogSettings

__all__ = ["OnReport", "check_importable", "run_in_process"]

OnReport: TypeAlias = Callable[[Progress | Log], None]

_LINE_LIMIT: Final = 32 * 1024 * 1024
_GRACE_S: Final = 5.0
_LAST_WORDS_S: Final = 2.0
"""To read what a child that has ended left in its pipe."""


def check_importable(handler: Handler) -> str:
    """Return how a child process finds a handler: `module:qualname`, or `/path/to/program.py:qualname`.

    Raises:
        ServiceConfigError: it cannot: a lambda, a local function, a bound method, an interactive session's.
    """
    module, name = handler.__module__, getattr(handler, "__qualname__", "")
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        found = None
    home = _home_of_main() if module == "__main__" else module
    if home is None or not callable(found) or hasattr(handler, "__self__"):
        raise ServiceConfigError(
            "handler",
            f"{module}:{name or handler!r} runs in a process of its own, which must import it: define it "
            "as a function at the top of a module and start that with `longcall serve module:service`, "
            "or make it async",
        )
    return f"{home}:{name}"


def _home_of_main() -> str | None:
    """Return the program's module, or its file; None in an interactive session."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return None if file is None else str(Path(file).resolve())


async def run_in_process(
    target: str, request: CallRequest, *, attempt: int, on_report: OnReport, max_result_bytes: int
) -> Succeeded:
    """Run a handler in a child process. Cancelling stops it: SIGTERM, and SIGKILL five seconds later.

    What the handler leaves running when it returns, a thread or a process, has five seconds to end too.

    Args:
        target: as `check_importable` returned it.
        request: the call.
        attempt: which run this is.
        on_report: told what the handler reports.
        max_result_bytes: a larger result fails the call.

    Raises:
        CallFailed: the handler raised, or its process died or could not be started.
    """
    with tempfile.TemporaryFile() as spill:
        try:
            reading, child = await _start(spill.fileno())
        except OSError as error:
            raise CallFailed(
                "The worker process did not start", detail=str(error.strerror), code="process-start"
            ) from error
        answers = asyncio.create_task(_read_answers(reading, spill.fileno(), on_report))
        try:
            await _send(child, _task_line(target, request, attempt, max_result_bytes))
            outcome = await _outcome(child, answers)
        finally:
            answers.cancel()
            await _end(child)
    if isinstance(outcome, Succeeded):
        return outcome
    if outcome is None:
        assert child.returncode is not None  # `_end` waited for it
        raise CallFailed("The worker process died", detail=_how(child.returncode), code="process-died")
    raise CallFailed.of(outcome)


async def _start(spill: int) -> tuple[int, asyncio.subprocess.Process]:
    """Start the child; return the end of the pipe where it answers, and the child.

    Args:
        spill: of a file for a result that is too large for a line.
    """
    with ExitStack() as unless_started:
        reading, writing = os.pipe()
        unless_started.callback(os.close, reading)
        try:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "longcall.service.child", str(writing), str(spill)),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(writing, spill),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        unless_started.pop_all()
    return reading, child


def _task_line(target: str, request: CallRequest, attempt: int, max_result_bytes: int) -> bytes:
    task: dict[str, JsonValue] = {
        "target": target,
        "path": [entry for entry in sys.path if entry],
        "log": LogSettings.current().to_wire(),
        "about": LogContext.current().to_wire(),
        "correlation_id": request.correlation_id,
        "content_type": request.content_type,
        "body_base64": base64.b64encode(request.body).decode(),
        "deadline": request.deadline.isoformat() if request.deadline else None,
        "attempt": attempt,
        "max_result_bytes": max_result_bytes,
    }
    return json.dumps(task).encode() + b"\n"


async def _send(child: asyncio.subprocess.Process, line: bytes) -> None:
    """Write to the child's standard input and leave it open: its end tells the child that we are gone."""
    assert child.stdin is not None  # it is a pipe
    child.stdin.write(line)
    with suppress(ConnectionError):  # it died at once: its exit status says more
        await child.stdin.drain()


async def _outcome(
    child: asyncio.subprocess.Process, answers: asyncio.Task[Succeeded | Problem | None]
) -> Succeeded | Problem | None:
    """Return what the child answers; None when it ends without an answer."""
    exit_ = asyncio.create_task(child.wait())
    try:
        await asyncio.wait({answers, exit_}, return_when=asyncio.FIRST_COMPLETED)
        # A process that the handler has forked holds the pipe too: the pipe's end may never come.
        await asyncio.wait({answers}, timeout=_LAST_WORDS_S)
        if not answers.done():
            return None
        await asyncio.wait({exit_}, timeout=_GRACE_S)
        return answers.result()
    finally:
        exit_.cancel()


async def _read_answers(reading: int, spill: int, on_report: OnReport) -> Succeeded | Problem | None:
    """Return the handler's outcome; None when the pipe ends without one."""
    stream = asyncio.StreamReader(limit=_LINE_LIMIT)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
    )
    try:
        async for line in stream:
            if not line.endswith(b"\n"):
                return None  # killed in the middle of it
            answer = decode_json(line, field="child")
            assert isinstance(answer, dict)  # our own child wrote it
            if "progress" in answer:
                on_report(progress_from_wire(answer["progress"]))
            elif "log" in answer:
                on_report(log_from_wire(answer["log"]))
            elif "problem" in answer:
                return Problem.from_wire(answer["problem"])
            else:
                return await _read_result(answer, spill)
    except (ContractError, ValueError) as error:  # the handler itself has written to the pipe
        return Problem(title="The worker process answered nonsense", detail=str(error), code="process-answer")
    finally:
        transport.close()
    return None


async def _read_result(answer: dict[str, JsonValue], spill: int) -> Succeeded:
    content_type = str(answer["content_type"])
    if "reference" in answer:
        reference = answer["reference"]
        assert isinstance(reference, dict)  # as above
        return Succeeded(content_type=content_type, reference=reference_from_wire(reference))
    if "spilled" in answer:
        data = await asyncio.to_thread(os.pread, spill, whole_number(answer["spilled"]) or 0, 0)
        return Succeeded(data=data, content_type=content_type)
    return Succeeded(data=base64.b64decode(str(answer["data_base64"])), content_type=content_type)


async def _end(child: asyncio.subprocess.Process) -> None:
    """End the child's process group, however far it is."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        # Not asyncio.timeout: in a task that is being cancelled it does not end a wait before Python 3.11.3.
        exit_ = asyncio.create_task(child.wait())
        await asyncio.wait({exit_}, timeout=_GRACE_S)
        exit_.cancel()
    # What the handler itself has started is in the group, and may have outlived it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def _how(status: int) -> str:
    if status < 0:
        return f"ended by signal {signal.Signals(-status).name}"
    return f"exit status {status}, without a result"
