"""One word of a command line, with fields: `--date={date}`, `{model.name}`. Braces are written `{{` and `}}`.

A word stays one word, whatever is filled in: no shell reads it. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from longcall.contract import JsonValue
from longcall.service.arguments import ArgumentError, InvalidArguments
from longcall.service.errors import ServiceConfigError

__all__ = ["MAX_WORD_BYTES", "Template"]

MAX_WORD_BYTES: Final = 100_000
"""Of a filled word; Linux takes 131,072 (`MAX_ARG_STRLEN`, execve(2))."""

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD: Final = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class Template:
    """A word, taken apart.

    Attributes:
        parts: text as it stands (`str`), and fields (the names on the way to them).
    """

    parts: tuple[str | tuple[str, ...], ...]

    @classmethod
    def of(cls, word: str) -> Template:
        """Read a word.

        Raises:
            ServiceConfigError: a brace stands alone, or the braces hold no field's name.
        """
        parts: list[str | tuple[str, ...]] = []
        end = 0
        for token in _TOKEN.finditer(word):
            parts.append(word[end : token.start()])
            end = token.end()
            if token[0] in ("{{", "}}"):
                parts.append(token[0][0])
            elif token[1] is not None and _FIELD.fullmatch(token[1]):
                parts.append(tuple(token[1].split(".")))
            else:
                raise ServiceConfigError(
                    "command", f"{word!r}: a field is {{name}}, and a brace is {{{{ or }}}}"
                )
        parts.append(word[end:])
        return cls(tuple(part for part in parts if part))

    @property
    def has_fields(self) -> bool:
        """Whether anything is filled in."""
        return any(isinstance(part, tuple) for part in self.parts)

    def fill(self, arguments: JsonValue, *, may_be_option: bool = False) -> str:
        """Return the word with the fields of `arguments`: text as it is, anything else as JSON.

        Args:
            arguments: of the call.
            may_be_option: whether the value of a field may begin the word with `-`; a number always may.

        Raises:
            InvalidArguments: a field is missing, null, or cannot stand in a command line.
        """
        errors: list[ArgumentError] = []
        filled = ""
        for part in self.parts:
            if isinstance(part, str):
                filled += part
                continue
            value = _find(arguments, part)
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            wrong = ""
            if value is None:
                wrong = "missing"
            elif "\0" in text:
                wrong = "holds a NUL character, which no command line can"
            elif not filled and text.startswith("-") and isinstance(value, str) and not may_be_option:
                wrong = "begins with '-': the command would take it for an option"
            if wrong:
                errors.append({"pointer": _pointer(part), "detail": wrong})
            filled += text
            if len(filled.encode()) > MAX_WORD_BYTES:
                errors.append({"pointer": _pointer(part), "detail": f"more than {MAX_WORD_BYTES} bytes"})
        if errors:
            raise InvalidArguments(errors)
        return filled


def _find(arguments: JsonValue, path: tuple[str, ...]) -> JsonValue:
    for name in path:
        arguments = arguments.get(name) if isinstance(arguments, Mapping) else None
    return arguments


def _pointer(path: tuple[str, ...]) -> str:
    return "".join(f"/{name}" for name in path)
