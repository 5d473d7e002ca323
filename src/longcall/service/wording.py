"""Any text made fit to be published: it is Unicode, and it ends."""

from __future__ import annotations

from typing import Final

__all__ = ["publishable"]

_MAX_CHARACTERS: Final = 100_000
"""As UTF-8, far from what a message takes; and more than a person reads."""


def publishable(text: str) -> str:
    """Return `text` cut at 100,000 characters, lone surrogates (of undecodable file names) written out."""
    if len(text) > _MAX_CHARACTERS:
        text = text[: _MAX_CHARACTERS - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()
