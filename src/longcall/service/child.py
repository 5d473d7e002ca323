"""The program of a child process: `python -m longcall.service.child FD SPILL` runs one handler and ends.

Reads one line of JSON from its standard input, writes lines of JSON to the
descriptor FD: any number of `{"progress"}` and `{"log"}`, then the result or the problem.
A result that is too large for a line goes to the file of the descriptor SPILL.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import importlib
import importlib.util
import inspect
import json
import logging
import operator
import os
import signal
import sys
import threading
from collections.abc import Awaitable
from datetime import datetime
from pathlib import Path
from types import FrameType, ModuleType
from typing import Final, NoReturn, cast

from longcall._core.clock import SystemClock
from longcall.contract import CallRequest, JsonValue, Succeeded
from longcall.contract.reference import reference_to_wire
from longcall.service.answers import AnswerWriter
from longcall.service.arguments import invoke
from longcall.service.call import Call, Handler, HandlerResult, failure_problem, to_succeeded
from longcall.service.errors import CallFailed
from longcall.service.log_lines import LogWriter
from longcall.service.logs import LogContext, LogSettings
from longcall.service.tracing import joined_trace

__all__ = ["main"]

log = logging.getLogger("longcall.service")

_PR_SET_PDEATHSIG: Final = 1
_STDIN: Final = 0
_MAX_LINE_BYTES: Final = 1_000_000
_PROGRAM: Final = "__longcall_program__"
_stopped = threading.Event()


def main() -> int:
    """Run the handler that the parent names; return the exit status."""
    _end_with_parent()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    lifeline = _take_stdin()
    task: dict[str, JsonValue] = json.loads(_read_line(lifeline))
    threading.Thread(target=_watch_parent, args=(lifeline,), daemon=True).start()
    LogSettings.from_wire(task["log"]).apply(about=LogContext.from_wire(task["about"]))
    answers = AnswerWriter(int(sys.argv[1]))
    answers.close(_run(task, answers))
    return 0


def _run(task: dict[str, JsonValue], answers: AnswerWriter) -> dict[str, JsonValue]:
    deadline = task["deadline"]
    request = CallRequest(
        correlation_id=str(task["correlation_id"]),
        body=base64.b64decode(str(task["body_base64"])),
        content_type=str(task["content_type"]),
        deadline=datetime.fromisoformat(str(deadline)) if deadline else None,
    )
    max_result_bytes = int(str(task["max_result_bytes"]))
    log_writer = LogWriter(answers.put, clock=SystemClock())
    call = Call(
        request,
        attempt=int(str(task["attempt"])),
        on_progress=answers.put,
        log_writer=log_writer,
        is_cancelled=_stopped.is_set,
        max_result_bytes=max_result_bytes,
    )
    try:
        handler = _handler(task)
        with joined_trace(LogContext.from_wire(task["about"]).traceparent):
            value = invoke(handler, call)
            result = asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value
        return _result_to_wire(to_succeeded(result, max_bytes=max_result_bytes))
    except CallFailed as failure:
        return {"problem": failure.problem.to_wire()}
    # The handler's border: whatever it raises fails its call.
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and _stopped.is_set():
            sys.exit(128 + signal.SIGTERM)
        log.exception("Call %s: the handler failed", request.correlation_id)
        return {"problem": failure_problem(error).to_wire()}
    finally:
        log_writer.end()


def _result_to_wire(result: Succeeded) -> dict[str, JsonValue]:
    wire: dict[str, JsonValue] = {"content_type": result.content_type}
    if result.reference is not None:
        return wire | {"reference": reference_to_wire(result.reference)}
    if len(result.data) <= _MAX_LINE_BYTES:
        return wire | {"data_base64": base64.b64encode(result.data).decode()}
    with os.fdopen(int(sys.argv[2]), "wb") as spill:
        spill.write(result.data)
    return wire | {"spilled": len(result.data)}


async def _awaited(work: Awaitable[HandlerResult]) -> HandlerResult:
    """Await it, cancelled by SIGTERM as a task is.

    The loop must be woken for that: a signal that comes right before it waits does not end the waiting.
    """
    task = asyncio.current_task()
    assert task is not None  # this is one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    signal.signal(signal.SIGTERM, lambda _number, _frame: _stopped.set())  # at once, though the loop be busy
    return await work


def _handler(task: dict[str, JsonValue]) -> Handler:
    path = task["path"]
    assert isinstance(path, list)  # our own parent wrote it
    sys.path.extend(str(entry) for entry in path if entry not in sys.path)
    home, _, name = str(task["target"]).rpartition(":")
    module = _load(Path(home)) if home.endswith(".py") else importlib.import_module(home)
    return cast("Handler", operator.attrgetter(name)(module))


def _load(program: Path) -> ModuleType:
    """Import a program, whose `if __name__ == "__main__":` part is not run."""
    spec = importlib.util.spec_from_file_location(_PROGRAM, program)
    assert spec is not None  # it is a Python file: the parent runs it
    assert spec.loader is not None
    module = sys.modules[_PROGRAM] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _end_with_parent() -> None:
    """Be killed when the service is, even by SIGKILL, even while the handler holds the interpreter."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_stdin() -> int:
    """Return a descriptor of our own for standard input, and leave the handler an empty one."""
    lifeline = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    return lifeline


def _read_line(descriptor: int) -> bytes:
    """Read one line, after which the parent sends nothing more."""
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            sys.exit(1)  # the parent is gone before it said what to do
        line += chunk
    return bytes(line)


def _watch_parent(lifeline: int) -> NoReturn:
    """End when the parent does. For systems without a death signal."""
    # Not through sys.stdin: a thread that holds its lock would crash the interpreter's shutdown.
    while os.read(lifeline, 4096):
        pass
    os.killpg(0, signal.SIGKILL)  # with whatever the handler has started
    os._exit(1)


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    _stopped.set()
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
