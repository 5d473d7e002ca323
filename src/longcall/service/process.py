"""Runs a synchronous handler in a child process that can be killed.

The child is told what to run by one line of JSON on its standard input, and
answers by lines of JSON on a pipe of its own; its output is the service's. No
pickle anywhere. It leads a process group, so that what it starts ends with it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from longcall.contract import CallRequest, ContractError, JsonValue, Problem, Progress, Succeeded, decode_json
from longcall.contract.progress import progress_from_wire
from longcall.service.call import Handler
from longcall.service.errors import CallFailure, ServiceConfigError

__all__ = ["check_importable", "run_in_process"]

_LINE_LIMIT: Final = 32 * 1024 * 1024
_GRACE_S: Final = 5.0


def check_importable(handler: Handler) -> str:
    """Return `module:qualname` of a handler that a child process can import.

    Raises:
        ServiceConfigError: it is a lambda, a local function, or in the program's main module.
    """
    module, name = handler.__module__, getattr(handler, "__qualname__", "")
    if module == "__main__" or "<" in name:
        raise ServiceConfigError(
            "handler",
            f"{module}:{name} runs in a process of its own, which must import it: define it at the top "
            "of a module and start that with `longcall serve module:service`, or make it async",
        )
    return f"{module}:{name}"


async def run_in_process(
    target: str, request: CallRequest, *, attempt: int, on_progress: Callable[[Progress], None]
) -> Succeeded:
    """Run a handler in a child process. Cancelling stops it: SIGTERM, and SIGKILL five seconds later.

    Args:
        target: `module:qualname`.
        request: the call.
        attempt: which run this is.
        on_progress: told of each report.

    Raises:
        CallFailure: the handler raised, or its process died.
    """
    reading, writing = os.pipe()
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "longcall.service.child", str(writing)),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(writing,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    assert child.stdin is not None  # it is a pipe
    try:
        child.stdin.write(_task_line(target, request, attempt))
        with suppress(ConnectionError):  # a child that died at once is told of below
            await child.stdin.drain()
        outcome = await _read_answers(reading, on_progress)
        status = await child.wait()
    finally:
        await _end(child)
    if outcome is None:
        raise CallFailure("The worker process died", detail=_how(status), code="process-died")
    return outcome


def _task_line(target: str, request: CallRequest, attempt: int) -> bytes:
    task: dict[str, JsonValue] = {
        "target": target,
        "path": [entry for entry in sys.path if entry],
        "correlation_id": request.correlation_id,
        "content_type": request.content_type,
        "body_base64": base64.b64encode(request.body).decode(),
        "deadline": request.deadline.isoformat() if request.deadline else None,
        "attempt": attempt,
    }
    return json.dumps(task).encode() + b"\n"


async def _read_answers(reading: int, on_progress: Callable[[Progress], None]) -> Succeeded | None:
    """Return the handler's result; None when the pipe ends without one."""
    stream = asyncio.StreamReader(limit=_LINE_LIMIT)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
    )
    try:
        async for line in stream:
            answer = decode_json(line, field="child")
            assert isinstance(answer, dict)  # our own child wrote it
            if "progress" in answer:
                with suppress(ContractError):  # a handler may report nonsense; its work goes on
                    on_progress(progress_from_wire(answer["progress"]))
            elif "problem" in answer:
                problem = Problem.from_wire(answer["problem"])
                failure = CallFailure(problem.title)
                failure.problem = problem
                raise failure
            else:
                return Succeeded(
                    data=base64.b64decode(str(answer["data_base64"])),
                    content_type=str(answer["content_type"]),
                )
    except ValueError as error:
        raise CallFailure("Bad result", detail=str(error), code="result", retryable=False) from error
    finally:
        transport.close()
    return None


async def _end(child: asyncio.subprocess.Process) -> None:
    """End the child's process group, however far it is."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(child.wait()), _GRACE_S)
    # What the handler itself has started is in the group, and may have outlived it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def _how(status: int) -> str:
    if status < 0:
        return f"ended by signal {signal.Signals(-status).name}"
    return f"exit status {status}, without a result"
