"""Which subscriptions of a topic may match a message, without asking each of them.

A filter that demands an equality or a prefix is filed under it: a publish looks
up its own attributes and touches only those, so that it costs the same with ten
subscriptions as with ten thousand. Whatever else a filter says is checked on the
few that are found. The rest (no filter, OR, NOT, mere presence
of a key) is asked one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from longcall.broker.rules.filters import And, Equals, Filter, HasPrefix

__all__ = ["FilterIndex"]

_T = TypeVar("_T")
_K = TypeVar("_K")


class FilterIndex(Generic[_T]):
    """Members with a filter each; a member is in once."""

    def __init__(self) -> None:
        self._equal: dict[tuple[str, str], dict[_T, Filter]] = {}
        self._prefix: dict[tuple[str, str], dict[_T, Filter]] = {}
        self._rest: dict[_T, Filter] = {}
        # For each key, how many prefixes have which length: a publish tries the lengths, not the prefixes.
        self._lengths: dict[str, Counter[int]] = {}

    def add(self, member: _T, wanted: Filter) -> None:
        """File a member under its filter."""
        match _demand(wanted):
            case Equals(key=key, value=value):
                self._equal.setdefault((key, value), {})[member] = wanted
            case HasPrefix(key=key, prefix=prefix):
                if (key, prefix) not in self._prefix:
                    self._prefix[key, prefix] = {}
                    self._lengths.setdefault(key, Counter())[len(prefix)] += 1
                self._prefix[key, prefix][member] = wanted
            case _:
                self._rest[member] = wanted

    def remove(self, member: _T, wanted: Filter) -> None:
        """Take out a member that was added with this filter."""
        match _demand(wanted):
            case Equals(key=key, value=value):
                _take_out(self._equal, (key, value), member)
            case HasPrefix(key=key, prefix=prefix):
                if _take_out(self._prefix, (key, prefix), member):
                    self._forget_length(key, len(prefix))
            case _:
                del self._rest[member]

    def matching(self, attributes: Mapping[str, str]) -> Iterator[_T]:
        """Yield the members whose filter matches, each once."""
        for place in self._places(attributes):
            for member, wanted in place.items():
                if wanted.matches(attributes):
                    yield member

    def _places(self, attributes: Mapping[str, str]) -> Iterator[Mapping[_T, Filter]]:
        """Yield wherever a member may be filed that a message with these attributes is for."""
        yield self._rest
        for key, value in attributes.items():
            if (key, value) in self._equal:
                yield self._equal[key, value]
            for length in self._lengths.get(key, ()):
                if length <= len(value) and (key, value[:length]) in self._prefix:
                    yield self._prefix[key, value[:length]]

    def _forget_length(self, key: str, length: int) -> None:
        lengths = self._lengths[key]
        lengths[length] -= 1
        if lengths[length] == 0:
            del lengths[length]
        if not lengths:
            del self._lengths[key]


def _take_out(places: dict[_K, dict[_T, Filter]], place: _K, member: _T) -> bool:
    """Remove a member from its place; tell whether that was the last one there."""
    del places[place][member]
    if places[place]:
        return False
    del places[place]
    return True


def _demand(wanted: Filter) -> Equals | HasPrefix | None:
    """Return an equality or prefix without which the filter cannot match; None if it has none."""
    match wanted:
        case Equals() | HasPrefix():
            return wanted
        case And(operands=operands):
            demands = [demand for operand in operands if (demand := _demand(operand)) is not None]
            equalities = [demand for demand in demands if isinstance(demand, Equals)]
            return (equalities or demands or [None])[0]
        case _:
            return None
