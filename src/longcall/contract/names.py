"""Names, labels and filters as Google Pub/Sub wants them.

Rests on the Pub/Sub resource names page (3 to 255 characters, a letter first,
not `goog`), the label rules of Google Cloud, and the Pub/Sub filter grammar.
"""

from __future__ import annotations

import re

from longcall.contract.errors import ContractError

__all__ = [
    "bounded_filter",
    "correlation_filter",
    "inbox_filter",
    "quote_filter_string",
    "resource_id",
    "resource_path",
    "sanitize_label",
]

_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:\-]{0,127}")
_LABEL_REFUSED = re.compile(r"[^a-z0-9_-]+")
_MAX_LABEL_LENGTH = 63
_MAX_FILTER_BYTES = 256


def resource_path(value: str, *, project: str | None, collection: str, field: str) -> str:
    """Return the full path of a topic or subscription that is named by path or by id.

    Args:
        value: `projects/p/topics/t`, or `t` alone.
        project: the project of a bare id; None where only a path will do.
        collection: `topics` or `subscriptions`.
        field: what the sender calls the value, for the error.

    Raises:
        ContractError: the name, or the project that it needs, is missing or not allowed.
    """
    if "/" in value:
        parts = value.split("/")
        if len(parts) != 4 or parts[0] != "projects" or parts[2] != collection:
            raise ContractError(field, f"{value!r} is not of the form projects/PROJECT/{collection}/ID")
        project, value = parts[1], parts[3]
    if not project:
        raise ContractError(
            field,
            f"{value!r} names no project: give project_id, set GOOGLE_CLOUD_PROJECT, "
            f"or write projects/PROJECT/{collection}/{value}",
        )
    if not _PROJECT.fullmatch(project):
        raise ContractError(field, f"{project!r} is not a Google Cloud project id")
    if not _ID.fullmatch(value):
        raise ContractError(
            field,
            f"{value!r} is not a Pub/Sub name: 3 to 255 letters, digits and -_.~+%, "
            "a letter first, not beginning with goog",
        )
    return f"projects/{project}/{collection}/{value}"


def resource_id(path: str) -> str:
    """Return the last part of a resource path."""
    return path.rpartition("/")[2]


def sanitize_label(value: str) -> str:
    """Return `value` as a label value: lower case, digits, `_` and `-`, at most 63 characters.

    Every run of other characters becomes one `-`. Dag and run ids, with their
    dots, colons and capitals, come out legible but may collide: a label is for
    people who look, never a key.
    """
    return _LABEL_REFUSED.sub("-", value.lower())[:_MAX_LABEL_LENGTH].strip("-")


def quote_filter_string(value: str) -> str:
    """Return `value` as a string literal of the Pub/Sub filter language."""
    escaped = "".join(_quote_character(c) for c in value)
    return f'"{escaped}"'


def _quote_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def correlation_filter(correlation_id: str) -> str:
    """Return the filter that lets through one call's reports and no others.

    Raises:
        ContractError: the filter would be longer than Pub/Sub allows (256 bytes).
    """
    return bounded_filter(f"attributes.correlid = {quote_filter_string(correlation_id)}", "correlid")


def inbox_filter(inbox: str) -> str:
    """Return the filter that lets through the reports of every call of one shared inbox.

    A name with a dot shares: the inbox `prod` would also receive what is meant for `prod.eu`.

    Raises:
        ContractError: the filter would be longer than Pub/Sub allows (256 bytes).
    """
    return bounded_filter(f"hasPrefix(attributes.correlid, {quote_filter_string(inbox + '.')})", "inbox")


def bounded_filter(text: str, field: str) -> str:
    """Return the filter.

    Raises:
        ContractError: it is longer than Pub/Sub allows (256 bytes); names the field that made it so.
    """
    size = len(text.encode())
    if size > _MAX_FILTER_BYTES:
        raise ContractError(
            field, f"its filter has {size} bytes, Pub/Sub allows {_MAX_FILTER_BYTES}: shorten it"
        )
    return text
