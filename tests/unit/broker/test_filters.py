"""Filters: what is written is what is matched, and what is no filter is refused with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.filters import MAX_FILTER_BYTES, parse_filter

# The naive oracle: a nested tuple, written out as text and evaluated by its own few lines.
Tree = tuple[Any, ...]

KEYS = ["a", "b-1", "key_2", "iana.org/lang", "みんな", "AND"]
VALUES = ["", "x", "xy", 'say "hi"', "back\\slash", "line\nbreak", "é"]


def _leaves() -> st.SearchStrategy[Tree]:
    keys, values = st.sampled_from(KEYS), st.sampled_from(VALUES)
    return st.one_of(
        st.tuples(st.just("has"), keys),
        st.tuples(st.sampled_from(["=", "!=", "prefix"]), keys, values),
    )


def _branches(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.tuples(st.sampled_from(["NOT", "-"]), inner),
        st.tuples(st.sampled_from(["AND", "OR"]), inner, inner),
        st.tuples(st.sampled_from(["AND", "OR"]), inner, inner, inner),
    )


TREES = st.recursive(_leaves(), _branches, max_leaves=4)
MESSAGES = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))


def _text(tree: Tree) -> str:
    match tree:
        case ("has", key):
            return f"attributes:{_key(key)}"
        case ("=" | "!=" as sign, key, value):
            return f"attributes.{_key(key)} {sign} {_quoted(value)}"
        case ("prefix", key, value):
            return f"hasPrefix(attributes.{_key(key)}, {_quoted(value)})"
        case ("NOT" | "-" as sign, inner):
            return f"{sign} ({_text(inner)})" if sign == "NOT" else f"-({_text(inner)})"
        case (word, *operands):
            return f" {word} ".join(f"({_text(operand)})" for operand in operands)
    raise AssertionError(tree)


def _key(key: str) -> str:
    bare = all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if bare else _quoted(key)


def _quoted(value: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "é": "\\u00e9"}
    return '"' + "".join(escapes.get(c, c) for c in value) + '"'


def _naive(tree: Tree, attributes: Mapping[str, str]) -> bool:
    match tree:
        case ("has", key):
            return key in attributes
        case ("=", key, value):
            return key in attributes and attributes[key] == value
        case ("!=", key, value):
            return not (key in attributes and attributes[key] == value)
        case ("prefix", key, value):
            return key in attributes and attributes[key][: len(value)] == value
        case ("NOT" | "-", inner):
            return not _naive(inner, attributes)
        case ("AND", *operands):
            return all(_naive(operand, attributes) for operand in operands)
        case ("OR", *operands):
            return any(_naive(operand, attributes) for operand in operands)
    raise AssertionError(tree)


@given(TREES.filter(lambda tree: len(_text(tree).encode()) <= MAX_FILTER_BYTES), MESSAGES)
def test_filter_matches_what_it_says(tree: Tree, attributes: dict[str, str]) -> None:
    assert parse_filter(_text(tree)).matches(attributes) == _naive(tree, attributes)


@given(st.text(alphabet='attributes hasPrefixNOTANDR:.=!()",-\\"x01u', max_size=120) | st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    with suppress(InvalidArgument):
        parse_filter(text).matches({"a": "x"})


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("", {}),
        ("   ", {"a": "x"}),
        ("attributes:domain", {"domain": ""}),
        ('attributes.domain="com"', {"domain": "com"}),
        ('attributes . domain = "com"', {"domain": "com"}),
        ('attributes.name != "com"', {}),
        ('NOT hasPrefix(attributes.name, "co")', {}),
        ('-attributes.name = "com"', {"name": "net"}),
        ("--attributes:a", {"a": ""}),
        ("NOT -attributes:a", {"a": ""}),
        ("- NOT attributes:a", {"a": ""}),
        ('attributes."iana.org/language_tag" = "en"', {"iana.org/language_tag": "en"}),
        ('attributes.a = "\\x41\\102\\u0043\\U00000044"', {"a": "ABCD"}),
        ('attributes.a = "\\"\\\\\\\'"', {"a": "\"\\'"}),
        ("attributes:-a", {"-a": ""}),
        ('attributes:a AND (attributes:b OR attributes.c = "1")', {"a": "", "c": "1"}),
        ("NOT attributes:a OR attributes:b", {"a": "", "b": ""}),
        ("NOT (attributes:a OR attributes:b)", {}),
    ],
)
def test_filter_of_the_documentation_matches(text: str, attributes: dict[str, str]) -> None:
    assert parse_filter(text).matches(attributes)


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("attributes:domain", {"Domain": ""}),
        ('attributes.name = "com"', {"name": "Com"}),
        ('attributes.name = "com"', {}),
        ('attributes.name != "com"', {"name": "com"}),
        ('hasPrefix(attributes.name, "co")', {}),
        ("NOT attributes:a AND attributes:b", {"a": "", "b": ""}),
    ],
)
def test_filter_of_the_documentation_does_not_match(text: str, attributes: dict[str, str]) -> None:
    assert not parse_filter(text).matches(attributes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"com" = attributes.name', "character 1"),
        ("attributes.name = attributes.website", "character 19"),
        ("attributes.name = com", "character 19"),
        ("attributes.name = 'com'", "double quotes"),
        ('attributes.a = "x" AND attributes.b = "y" OR attributes:c', "do not mix"),
        ('attributes.a = "x" and attributes:b', "AND, OR or the end"),
        ('attributes.a = "com" AND ("net" OR "org")', "character 27"),
        ("not attributes:a", "character 1"),
        ('attributes.a < "x"', "character 14"),
        ('attributes.a == "x"', "character 15"),
        ('attributes.a =~ "x"', "character 15"),
        ('hasSuffix(attributes.a, "x")', "character 1"),
        ('hasPrefix(attributes:a, "x")', "a point"),
        ("attributes:\\u307F", "character 12"),
        ('attributes.a = "x', "character 16"),
        ('attributes.a = "\\q"', "character 17"),
        ('attributes.a = "\\ud800"', "character 17"),
        ("attributes.a.b:c", "="),
        ("attributes", "colon or a point"),
        ("(attributes:a", "closing parenthesis"),
        ("attributes:a)", "the end of the filter"),
        ("-", "character 2"),
        ("NOT", "character 4"),
        ("attributes:a AND", "character 17"),
        ('data = "x"', "character 1"),
        ("(" * 256, "nested"),
        ("é" * 129, "256"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(says)):
        parse_filter(text)


def test_deepest_filters_that_fit_are_parsed_and_matched() -> None:
    assert parse_filter("-" * 242 + "attributes:aaa").matches({"aaa": ""})
    deep = "(" * 122 + "attributes:a" + ")" * 122
    assert parse_filter(deep).matches({"a": ""})
