"""What the page says of times and results. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from longcall.contract import ContractError, Progress, Succeeded

__all__ = ["Preview", "ago", "duration", "percent", "preview", "progress_text"]

_MAX_SHOWN: Final = 100_000
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Preview:
    """A result as the page shows it.

    Attributes:
        text: what can be read of it, cut at 100,000 characters; None: it is not for reading.
        is_cut: whether there is more.
        size: of the whole, in words.
        content_type: its media type; empty: not said.
        url: where it lies, when it is by reference; empty: here.
    """

    text: str | None
    is_cut: bool
    size: str
    content_type: str
    url: str = ""


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `3 min 20 s`; a negative one counts as none."""
    left, words = max(0, round(seconds)), list[str]()
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
        if words and (len(words) == 2 or not count):
            break
    return " ".join(words) or "0 s"


def ago(instant: datetime, *, now: datetime) -> str:
    """Return how long ago it was, in its largest unit."""
    passed = " ".join(duration((now - instant).total_seconds()).split()[:2])
    return "now" if passed == "0 s" else f"{passed} ago"


def percent(progress: Progress | None) -> float | None:
    """Return how far the work has come, from 0 to 100; None: that cannot be told."""
    if progress is None or not progress.total:
        return None
    return max(0.0, min(100.0, 100.0 * progress.done / progress.total))


def progress_text(progress: Progress) -> str:
    """Return progress in words: `3 of 10 models: depth 8`."""
    of_total = "" if progress.total is None else f" of {progress.total:g}"
    unit = f" {progress.unit}" if progress.unit else ""
    message = f": {progress.message}" if progress.message else ""
    return f"{progress.done:g}{of_total}{unit}{message}"


def preview(result: Succeeded) -> Preview:
    """Return what a person can be shown of a result."""
    if result.reference is not None:
        size = _size(result.reference.size_bytes or 0)
        return Preview(
            text=None, is_cut=False, size=size, content_type=result.content_type, url=result.reference.url
        )
    try:
        value = result.value()
    except ContractError:  # it is not what its type says
        value = result.data
    text: str | None
    if result.is_json and not isinstance(value, bytes):
        text = json.dumps(value, indent=2, ensure_ascii=False)
    else:
        text = value if isinstance(value, str) else None
    is_cut = text is not None and len(text) > _MAX_SHOWN
    return Preview(
        text=text[:_MAX_SHOWN] if text is not None else None,
        is_cut=is_cut,
        size=_size(len(result.data)),
        content_type=result.content_type,
    )


def _size(count: int) -> str:
    for unit, size in (("MB", 1_000_000), ("kB", 1000)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
