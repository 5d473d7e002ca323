"""A command line as it was configured, and what one call makes of it."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from longcall.contract import CallRequest, ContractError, JsonValue, decode_json
from longcall.service.arguments import ArgumentError, InvalidArguments
from longcall.service.command.template import MAX_WORD_BYTES, Template
from longcall.service.errors import ServiceConfigError

__all__ = ["EX_TEMPFAIL", "CommandSpec", "ResultFrom"]

ResultFrom: TypeAlias = Literal["auto", "file", "last-line", "none"]
"""Where the result is. `auto`: the file `$LONGCALL_RESULT` if there is one, else the last line printed."""

EX_TEMPFAIL: Final = 75
"""The exit status that asks to try again later (sysexits.h)."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_ALL_BYTES: Final = 1_000_000
"""Of argv and the variables of one call together; Linux takes 2 MB with the service's own (execve(2))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """What to run for a call, and how to read what comes of it.

    Attributes:
        argv: the program and its words; all but the first may have fields.
        stdin: whether the body is the command's standard input; otherwise that is empty.
        result: where the result is.
        result_type: the media type of the result file; empty: JSON if it is that, else text, else bytes.
        retry_statuses: exit statuses that say that the same call may succeed later.
        grace_s: between SIGTERM and SIGKILL when a call is cancelled.
    """

    argv: tuple[str, ...]
    stdin: bool = False
    result: ResultFrom = "auto"
    result_type: str = ""
    retry_statuses: frozenset[int] = frozenset({EX_TEMPFAIL})
    grace_s: float = 10.0
    _templates: tuple[Template, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what can run nothing."""
        if not self.argv or not self.argv[0]:
            raise ServiceConfigError("command", "give the command after --")
        templates = tuple(Template.of(word) for word in self.argv)
        if templates[0].has_fields:
            raise ServiceConfigError(
                "command", "the program itself cannot be an argument: its callers would choose it"
            )
        if self.result not in get_args(ResultFrom):
            raise ServiceConfigError("result", f"one of {', '.join(get_args(ResultFrom))}")
        if not all(0 < status < 256 for status in self.retry_statuses):
            raise ServiceConfigError("retry_statuses", "exit statuses from 1 to 255")
        if not 0 <= self.grace_s < math.inf:
            raise ServiceConfigError("grace", "0 or more seconds")
        object.__setattr__(self, "_templates", templates)

    @property
    def program(self) -> str:
        """The first word."""
        return self._templates[0].fill(None)

    def check_program(self) -> None:
        """Look for the program.

        Raises:
            ServiceConfigError: there is none of that name, or it may not be executed.
        """
        if shutil.which(self.program) is None:
            why = "is not executable: chmod +x" if Path(self.program).is_file() else "is not found"
            raise ServiceConfigError("command", f"{self.program} {why}")

    def words(self, body: bytes) -> list[str]:
        """Return the argv for a call's body.

        Raises:
            InvalidArguments: a field is missing or cannot stand there, or the body is no JSON object.
        """
        arguments = self._arguments(body)
        errors: list[ArgumentError] = []
        words: list[str] = []
        for template in self._templates:
            try:
                words.append(template.fill(arguments, may_be_option="--" in words))
            except InvalidArguments as error:
                errors += [each for each in error.errors if each not in errors]
        if errors:
            raise InvalidArguments(errors)
        if sum(len(word.encode()) for word in words) > _MAX_ALL_BYTES:
            raise InvalidArguments(
                [{"pointer": "", "detail": f"more than {_MAX_ALL_BYTES} bytes of arguments"}]
            )
        return words

    def variables(self, request: CallRequest, *, attempt: int) -> dict[str, str]:
        """Return the environment variables that tell the command of its call.

        `LONGCALL_ARG_X` is the member `x`, upper case: text as it is, anything else as JSON. Of members that
        differ by case only, the last. Arguments too large for the environment are not in it: see `stdin`.
        """
        variables = {"LONGCALL_ID": request.correlation_id, "LONGCALL_ATTEMPT": str(attempt)}
        arguments = self._arguments(request.body) if not self.stdin or _is_json(request.body) else {}
        whole = request.body.decode("utf-8-sig") if arguments or not self.stdin else ""
        if len(whole.encode()) > MAX_WORD_BYTES:
            return variables
        variables["LONGCALL_ARGUMENTS"] = whole or "{}"
        for name, value in arguments.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if _VARIABLE.fullmatch(f"_{name}") and "\0" not in text:
                variables[f"LONGCALL_ARG_{name.upper()}"] = text
        return variables

    def _arguments(self, body: bytes) -> Mapping[str, JsonValue]:
        fields = any(template.has_fields for template in self._templates)
        if not body or (self.stdin and not fields and not _is_json(body)):
            return {}
        try:
            arguments = decode_json(body, field="body")
        except ContractError as error:
            raise InvalidArguments([{"pointer": "", "detail": error.reason}]) from None
        if isinstance(arguments, Mapping):
            return arguments
        if self.stdin and not fields:
            return {}
        raise InvalidArguments([{"pointer": "", "detail": "a JSON object, whose members are the arguments"}])

    def check(self, body: bytes) -> None:
        """Return when a body is fit for this command.

        Raises:
            InvalidArguments: it is not.
        """
        self.words(body)
        if len(body) > MAX_WORD_BYTES and not self.stdin:
            why = f"more than {MAX_WORD_BYTES} bytes, and the environment takes no more: serve with --stdin"
            raise InvalidArguments([{"pointer": "", "detail": why}])


def _is_json(body: bytes) -> bool:
    try:
        decode_json(body, field="body")
    except ContractError:
        return False
    return True
