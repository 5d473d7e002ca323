"""The filter language of Pub/Sub subscriptions: parse once, match often.

Rests on the page "Filter messages from a subscription". The grammar, with white
space insignificant outside strings:

    filter  = "" | expr
    expr    = unary { "AND" unary } | unary { "OR" unary }
    unary   = ( "NOT" | "-" ) unary | primary
    primary = "(" expr ")"
            | "attributes" ":" key
            | "attributes" "." key ( "=" | "!=" ) string
            | "hasPrefix" "(" "attributes" "." key "," string ")"

AND and OR never mix at one level. `!=` and NOT match a message that lacks the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from longcall.broker.errors import InvalidArgument

__all__ = ["MAX_FILTER_BYTES", "And", "Equals", "Filter", "HasKey", "HasPrefix", "Not", "Or", "parse_filter"]

MAX_FILTER_BYTES: Final = 256

Attributes: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HasKey:
    """`attributes:KEY`."""

    key: str

    def matches(self, attributes: Attributes) -> bool:
        """Tell whether the filter lets a message with these attributes through."""
        return self.key in attributes


@dataclass(frozen=True, slots=True)
class Equals:
    """`attributes.KEY = "VALUE"`."""

    key: str
    value: str

    def matches(self, attributes: Attributes) -> bool:
        """Tell whether the filter lets a message with these attributes through."""
        return attributes.get(self.key) == self.value


@dataclass(frozen=True, slots=True)
class HasPrefix:
    """`hasPrefix(attributes.KEY, "PREFIX")`."""

    key: str
    prefix: str

    def matches(self, attributes: Attributes) -> bool:
        """Tell whether the filter lets a message with these attributes through."""
        return attributes[self.key].startswith(self.prefix) if self.key in attributes else False


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT` or `-`; `!=` is the same of an `=`."""

    operand: Filter

    def matches(self, attributes: Attributes) -> bool:
        """Tell whether the filter lets a message with these attributes through."""
        return not self.operand.matches(attributes)


@dataclass(frozen=True, slots=True)
class And:
    """`AND` of all operands; without any, the empty filter, which matches everything."""

    operands: tuple[Filter, ...] = ()

    def matches(self, attributes: Attributes) -> bool:
        """Tell whether the filter lets a message with these attributes through."""
        return all(operand.matches(attributes) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    """`OR` of all operands."""

    operands: tuple[Filter, ...]

    def matches(self, attributes: Attributes) -> bool:
        """Tell whether the filter lets a message with these attributes through."""
        return any(operand.matches(attributes) for operand in self.operands)


Filter: TypeAlias = HasKey | Equals | HasPrefix | Not | And | Or


def parse_filter(text: str) -> Filter:
    """Parse a filter.

    Raises:
        InvalidArgument: it is longer than 256 bytes or not of the grammar; says where and why.
    """
    size = len(text.encode())
    if size > MAX_FILTER_BYTES:
        raise InvalidArgument(f"The filter has {size} bytes; the maximum is {MAX_FILTER_BYTES}.")
    tokens = _tokenize(text)
    if tokens[0].kind == "end":
        return And()
    parser = _Parser(text, tokens)
    parsed = parser.expression()
    parser.expect("end", "AND, OR or the end of the filter")
    return parsed


_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<symbol>!=|[=:.,()])
    | (?P<word>[A-Za-z0-9_-]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"""\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{3})|(["'\\nrtbfav]))""", re.DOTALL
)
_SIMPLE_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "b": "\b",
    "f": "\f",
    "a": "\a",
    "v": "\v",
}
_MAX_CODE_POINT = 0x10FFFF
_MAX_DEPTH: Final = 128
"""Of parentheses. No filter of 256 bytes that is one nests deeper, so this only bounds what is none."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokenize(text: str) -> list[_Token]:
    tokens = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _refusal(text, at, "a filter has words, strings in double quotes, and = != : . , ( )")
        if found.lastgroup != "space":
            tokens.append(_Token(str(found.lastgroup), found.group(), at))
        at = found.end()
    tokens.append(_Token("end", "", at))
    return tokens


def _refusal(text: str, at: int, why: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid filter at character {at + 1} ({text[at : at + 20]!r}): {why}.")


class _Parser:
    """Recursive descent over the tokens, to a bounded depth."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def expression(self) -> Filter:
        first = self._unary()
        word = self._peek().text if self._peek().kind == "word" else ""
        if word not in ("AND", "OR"):
            return first
        operands = [first]
        while self._take_word(word):
            operands.append(self._unary())
        if self._peek().kind == "word" and self._peek().text in ("AND", "OR"):
            raise self._refuse("AND and OR do not mix without parentheses")
        return And(tuple(operands)) if word == "AND" else Or(tuple(operands))

    def expect(self, kind: str, what: str, text: str | None = None) -> _Token:
        token = self._peek()
        if token.kind != kind or (text is not None and token.text != text):
            raise self._refuse(f"expected {what}")
        self._next += 1
        return token

    def _unary(self) -> Filter:
        if self._take_word("NOT"):
            return Not(self._unary())
        token = self._peek()
        if token.kind == "word" and token.text.startswith("-"):
            # Where an operand may start, `-` is NOT; elsewhere it is part of a key.
            self._tokens[self._next : self._next + 1] = (
                [_Token("word", token.text[1:], token.at + 1)] if token.text != "-" else []
            )
            return Not(self._unary())
        return self._primary()

    def _primary(self) -> Filter:
        if self._take_symbol("("):
            return self._rest_of_group()
        if self._take_word("hasPrefix"):
            self.expect("symbol", "a parenthesis after hasPrefix", "(")
            self._expect_attributes()
            self.expect("symbol", "a point after attributes", ".")
            key = self._key()
            self.expect("symbol", "a comma after the key", ",")
            prefix = self._string("the prefix, a string in double quotes")
            self.expect("symbol", "a closing parenthesis", ")")
            return HasPrefix(key, prefix)
        self._expect_attributes()
        if self._take_symbol(":"):
            return HasKey(self._key())
        self.expect("symbol", "a colon or a point after attributes", ".")
        key = self._key()
        negated = self._take_symbol("!=")
        if not negated:
            self.expect("symbol", "= or != after the key", "=")
        equals = Equals(key, self._string("the value, a string in double quotes"))
        return Not(equals) if negated else equals

    def _rest_of_group(self) -> Filter:
        if self._depth == _MAX_DEPTH:
            raise self._refuse(f"parentheses are nested more than {_MAX_DEPTH} deep")
        self._depth += 1
        inner = self.expression()
        self.expect("symbol", "a closing parenthesis", ")")
        self._depth -= 1
        return inner

    def _expect_attributes(self) -> None:
        if not self._take_word("attributes"):
            raise self._refuse("expected attributes, hasPrefix, NOT or a parenthesis")

    def _key(self) -> str:
        token = self._peek()
        if token.kind == "word":
            self._next += 1
            return token.text
        return self._string("a key: letters, digits, _ and -, or a string in double quotes")

    def _string(self, what: str) -> str:
        token = self.expect("string", what)
        out = []
        at, end = 1, len(token.text) - 1
        while at < end:
            if token.text[at] != "\\":
                out.append(token.text[at])
                at += 1
                continue
            found = _ESCAPE.match(token.text, at, end)
            character = _unescape(found) if found else None
            if found is None or character is None:
                raise _refusal(self._text, token.at + at, "no escape of the filter language")
            out.append(character)
            at = found.end()
        return "".join(out)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, kind: str, text: str) -> bool:
        token = self._peek()
        found = token.kind == kind and token.text == text
        self._next += found
        return found

    def _take_word(self, text: str) -> bool:
        return self._take("word", text)

    def _take_symbol(self, text: str) -> bool:
        return self._take("symbol", text)

    def _refuse(self, why: str) -> InvalidArgument:
        return _refusal(self._text, self._peek().at, why)


def _unescape(found: re.Match[str]) -> str | None:
    code4, code8, hex2, octal, simple = found.groups()
    if simple is not None:
        return _SIMPLE_ESCAPES.get(simple, simple)
    code = int(octal, 8) if octal else int(code4 or code8 or hex2, 16)
    return chr(code) if code <= _MAX_CODE_POINT and not 0xD800 <= code <= 0xDFFF else None
