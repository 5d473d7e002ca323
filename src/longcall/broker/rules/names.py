"""Names and labels as Google Pub/Sub allows them.

Rests on the Pub/Sub resource names page and the label rules of Google Cloud;
the messages are the real service's, as far as they were recorded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from longcall.broker.errors import InvalidArgument

__all__ = ["check_labels", "check_name", "check_project", "check_resource_name", "project_of"]

_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_\-]{0,127}")
_COLLECTIONS = ("topics", "subscriptions", "snapshots", "schemas")
_MAX_LABELS = 64
_MAX_LABEL_LENGTH = 63


def check_name(name: str, collection: str) -> str:
    """Return `name` if it is `projects/{project}/{collection}/{id}`.

    Raises:
        InvalidArgument: it is not.
    """
    parts = name.split("/")
    well_formed = len(parts) == 4 and parts[0] == "projects" and parts[2] == collection
    if not well_formed or not _PROJECT.fullmatch(parts[1]) or not _ID.fullmatch(parts[3]):
        raise InvalidArgument(f"Invalid [{collection}] name: (name={name[:300]})")
    return name


def check_resource_name(name: str) -> str:
    """Return the collection of `projects/{project}/{collection}/{id}`: `topics`, for instance.

    Raises:
        InvalidArgument: it is something else.
    """
    collection = "".join(name.split("/")[2:3])
    if collection not in _COLLECTIONS:
        raise InvalidArgument(f"Invalid resource name: (name={name[:300]})")
    check_name(name, collection)
    return collection


def check_project(path: str) -> str:
    """Return the project of `projects/{project}`.

    Raises:
        InvalidArgument: it is something else.
    """
    prefix, _, project = path.partition("/")
    if prefix != "projects" or not _PROJECT.fullmatch(project):
        raise InvalidArgument(f"Invalid [projects] name: (name={path[:300]})")
    return project


def project_of(name: str) -> str:
    """Return the project of a checked name."""
    return name.split("/", 2)[1]


def check_labels(labels: Mapping[str, str]) -> None:
    """Return if the labels are allowed: at most 64, lower case, keys that begin with a letter.

    Raises:
        InvalidArgument: names the label.
    """
    if len(labels) > _MAX_LABELS:
        raise InvalidArgument(f"A resource has at most {_MAX_LABELS} labels; you passed {len(labels)}.")
    for key, value in labels.items():
        if not key or not _is_letter(key[0]) or not _is_label(key):
            raise InvalidArgument(
                f"Invalid label key {key[:80]!r}: 1 to {_MAX_LABEL_LENGTH} lower-case letters, digits, "
                "_ and -, a letter first."
            )
        if not _is_label(value):
            raise InvalidArgument(
                f"Invalid value of label {key!r}: at most {_MAX_LABEL_LENGTH} lower-case letters, "
                "digits, _ and -."
            )


def _is_letter(character: str) -> bool:
    return unicodedata.category(character) in ("Ll", "Lo")


def _is_label(text: str) -> bool:
    return len(text) <= _MAX_LABEL_LENGTH and all(
        c in "_-" or unicodedata.category(c) in ("Ll", "Lo", "Nd", "Nl", "No") for c in text
    )
