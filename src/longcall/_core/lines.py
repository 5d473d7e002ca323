"""Lines of text for a person: made harmless, and of too many only some. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

__all__ = ["LineBudget", "one_line"]

_ESCAPE_SEQUENCE: Final = re.compile(
    r"""
    (?: \x1b\[ | \x9b ) [0-?]* [ -/]* [@-~]             # CSI (ECMA-48): colours, the cursor
    | (?: \x1b[\]PX^_] | [\x9d\x90\x98\x9e\x9f] )       # OSC and its like: titles, links
      [^\x07\x1b\x9c]* (?: \x07 | \x1b\\ | \x9c )?
    | \x1b [ -/]* [0-~]
    """,
    re.VERBOSE,
)


def one_line(text: str, *, limit: int) -> str:
    """Return `text` as one line that does nothing to the terminal or the log that shows it.

    A terminal's escape sequences go, tabs become spaces, and any other character that does not print (line
    ends, control characters, marks that turn the writing's direction, halves of surrogate pairs) is written
    out as in Python. What is longer than `limit` characters then, is cut and ends with an ellipsis.
    """
    # Cut first, lest a huge line cost much; what is left out then was mostly escape sequences.
    text = _ESCAPE_SEQUENCE.sub("", text[: 4 * limit]).expandtabs(8)
    if not text.isprintable():
        text = "".join(map(_shown, text))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode()


class LineBudget:
    """How many lines may be told: a burst of 200, then 20 a second. Of the others, their number."""

    _BURST: Final = 200.0
    _PER_S: Final = 20.0

    def __init__(self) -> None:
        self._left = self._BURST
        self._at_s = -math.inf
        self.left_out = 0

    def allows(self, *, now_s: float) -> bool:
        """Take one line out of the budget; False: it is counted in `left_out` instead."""
        self._left = min(self._BURST, self._left + (now_s - self._at_s) * self._PER_S)
        self._at_s = now_s
        if self._left < 1:
            self.left_out += 1
            return False
        self._left -= 1
        return True

    def take_left_out(self) -> int:
        """Return how many lines were left out since the last call of this."""
        count, self.left_out = self.left_out, 0
        return count
