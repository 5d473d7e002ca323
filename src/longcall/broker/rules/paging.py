"""Pages of a list: `page_size` and an opaque `page_token`, which names the last entry of the page before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from longcall.broker.errors import InvalidArgument
from longcall.broker.protos import PageRequest

__all__ = ["page_of"]

_T = TypeVar("_T")
_DEFAULT_SIZE: Final = 100
_MAX_SIZE: Final = 1000


def page_of(
    entries: Sequence[_T], asked: PageRequest, *, name: Callable[[_T], str]
) -> tuple[Sequence[_T], str]:
    """Return a page and the token of the next; an empty token ends the list.

    Args:
        entries: sorted by name.
        asked: its `page_size` may be 0: as many as fit; its `page_token` is empty for the first page.
        name: of an entry.

    Raises:
        InvalidArgument: the size is negative or the token none of ours.
    """
    if asked.page_size < 0:
        raise InvalidArgument(f"page_size: {asked.page_size} is negative.")
    after = _decode(asked.page_token) if asked.page_token else ""
    rest = [entry for entry in entries if name(entry) > after]
    size = min(asked.page_size or _DEFAULT_SIZE, _MAX_SIZE)
    page = rest[:size]
    return page, _encode(name(page[-1])) if len(rest) > size else ""


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode(b"after:" + name.encode()).decode()


def _decode(token: str) -> str:
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("The page_token is invalid.") from error
    if not text.startswith("after:"):
        raise InvalidArgument("The page_token is invalid.")
    return text.removeprefix("after:")
