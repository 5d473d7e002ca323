"""Which method of the API an HTTP request is for: path templates, and what they bind. Pure.

Rests on the comments of `google/api/http.proto`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote

from longcall.broker.errors import BrokerError, NotFound

__all__ = ["Binding", "Match", "MethodNotAllowed", "PathTemplate", "Router"]

_ENCODED_SLASH: Final = re.compile(r"(%2[Ff])")
_TEMPLATE: Final = re.compile(r"((?:[^{}]|\{[^{}]+\})*?)(?::([^/:{}]+))?")


class MethodNotAllowed(BrokerError):
    """The path is one of the API's, but not with this HTTP method.

    Attributes:
        allowed: the HTTP methods that it has.
    """

    code = "UNIMPLEMENTED"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method[:20]} is not allowed here; {', '.join(allowed)} is.")
        self.allowed = allowed


class PathTemplate:
    """The path of an `HttpRule`: `/v1/{topic=projects/*/topics/*}:publish`.

    `*` stands for one segment, `**` for any number of them, a variable without a pattern for `*`.

    Raises:
        ValueError: the text is no template.
    """

    def __init__(self, text: str) -> None:
        parts = _TEMPLATE.fullmatch(text)
        if parts is None or not text.startswith("/"):
            raise ValueError(f"no path template: {text!r}")
        path, verb = parts.groups()
        self._verb: str = verb or ""
        self._fields: list[str] = []
        pattern = ""
        for literal, variable in re.findall(r"([^{}]+)|\{([^{}]+)\}", path):
            if literal:
                pattern += _segments(literal)
            else:
                name, _, inner = variable.partition("=")
                pattern += f"({_segments(inner or '*')})"
                self._fields.append(name)
        self._pattern = re.compile(pattern)

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the variables by the path of their field; None: it is another path.

        Args:
            path: as it was sent, percent-encoded.
        """
        head, slash, last = path.rpartition("/")
        last, _, verb = last.partition(":")
        if verb != self._verb:
            return None
        found = self._pattern.fullmatch(head + slash + last)
        if found is None:
            return None
        return dict(zip(self._fields, map(_decoded, found.groups()), strict=True))


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to reach a method.

    Attributes:
        service: full name.
        method: of the service.
        verb: of HTTP, in upper case.
        template: of the path.
        body: `*`: it is the message, but for what the path binds; a field: it is that; empty: nothing.
    """

    service: str
    method: str
    verb: str
    template: PathTemplate
    body: str = ""


class Match(NamedTuple):
    """A binding that was found, and what its path binds."""

    binding: Binding
    variables: Mapping[str, str]


class Router:
    """Finds the method that an HTTP request is for."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._bindings = tuple(bindings)

    def find(self, verb: str, path: str) -> Match:
        """Return the first binding that fits.

        Args:
            verb: of HTTP.
            path: as it was sent, percent-encoded.

        Raises:
            NotFound: the path is none of the API's.
            MethodNotAllowed: it is one with another HTTP method.
        """
        allowed = set()
        for binding in self._bindings:
            variables = binding.template.match(path)
            if variables is not None:
                if binding.verb == verb:
                    return Match(binding, variables)
                allowed.add(binding.verb)
        if allowed:
            raise MethodNotAllowed(verb, sorted(allowed))
        raise NotFound(f"The requested path {path[:300]} is none of the API's.")


def _segments(text: str) -> str:
    """Return a regular expression for a part of a template that has no variable in it."""
    kinds = {"*": "[^/]+", "**": ".*"}
    return "".join(kinds.get(part) or re.escape(part) for part in re.findall(r"\*\*?|[^*]+", text))


def _decoded(text: str) -> str:
    """Undo the percent-encoding, but for an encoded slash: it would become a separator."""
    return "".join(
        part if _ENCODED_SLASH.fullmatch(part) else unquote(part) for part in _ENCODED_SLASH.split(text)
    )
