"""What a command's end means: its exit status, its result. Pure."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection
from typing import Final

from longcall.contract import JSON_TYPE, ContractError, Succeeded, decode_json
from longcall.service.call import too_large
from longcall.service.command.lines import Line
from longcall.service.errors import CallFailed

__all__ = ["check_exit", "not_started", "result_of_file", "result_of_line"]

_MAY_GO_AWAY: Final = ("EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ETXTBSY", "EIO")
_TEXT_TYPE: Final = "text/plain; charset=utf-8"


def check_exit(status: int, *, retry_statuses: Collection[int], last_words: str) -> None:
    """Return when the command has succeeded.

    Args:
        status: its exit status, or -N when signal N ended it.
        retry_statuses: those that say that it may succeed later.
        last_words: the end of its standard error.

    Raises:
        CallFailed: it has not. Retryable: with one of `retry_statuses`, or ended by a signal.
    """
    if status == 0:
        return
    if status < 0:
        title, how, code = "The command was killed", f"by signal {_signal(-status)}", f"signal-{-status}"
    else:
        title, how, code = "The command failed", f"exit status {status}", f"exit-{status}"
    detail = f"{how}: {last_words}" if last_words else how
    raise CallFailed(title, detail=detail, code=code, retryable=status < 0 or status in retry_statuses)


def not_started(program: str, number: int) -> CallFailed:
    """Return the failure of a command that did not start; retryable if the system was short of something."""
    why = os.strerror(number)
    if number == errno.ENOEXEC:
        why += ": a script needs a first line such as #!/bin/sh"
    name = _errno_name(number)
    return CallFailed(
        "The command did not start",
        detail=f"{program}: {why}",
        code="process-start",
        retryable=name in _MAY_GO_AWAY,
    )


def result_of_file(data: bytes, *, content_type: str, max_bytes: int) -> Succeeded:
    """Return what the result file holds: JSON if it is that, else text, else bytes; `content_type` wins.

    Raises:
        CallFailed: it is larger than `max_bytes`, or not the JSON it is said to be; not retryable.
    """
    if len(data) > max_bytes:
        raise _bad(too_large(f"more than {max_bytes} bytes", max_bytes))
    if content_type:
        if content_type == JSON_TYPE and not _is_json(data):
            raise _bad("the file is not JSON")
        return Succeeded(data=data, content_type=content_type)
    if _is_json(data):
        return Succeeded(data=data.strip(), content_type=JSON_TYPE)
    try:
        data.decode()
    except UnicodeDecodeError:
        return Succeeded(data=data, content_type="application/octet-stream")
    return Succeeded(data=data, content_type=_TEXT_TYPE)


def result_of_line(line: Line | None) -> Succeeded:
    """Return the last line as the result: JSON if it is that, else text; null when there is none.

    Raises:
        CallFailed: it was too long to be kept; not retryable.
    """
    if line is None:
        return Succeeded.of(None)
    if line.is_cut:
        raise _bad("the last line is too long: write the result to the file $LONGCALL_RESULT")
    data = line.text.strip().encode("utf-8", "backslashreplace")
    return Succeeded(data=data, content_type=JSON_TYPE if _is_json(data) else _TEXT_TYPE)


def _bad(why: str) -> CallFailed:
    return CallFailed("Bad result", detail=why, code="result", retryable=False)


def _is_json(data: bytes) -> bool:
    try:
        decode_json(data, field="result")
    except ContractError:
        return False
    return not data.startswith(b"\xef\xbb\xbf")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)  # a real-time signal


def _errno_name(number: int) -> str:
    return errno.errorcode.get(number, "")
