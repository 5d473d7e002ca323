"""Which subscriptions of a topic may match a message, without asking each of them.

A filter that demands an equality or a prefix is filed under it: a publish looks
up its own attributes and touches only those. Whatever else a filter says is
checked on the few that are found. The rest (no filter, OR, NOT, mere presence
of a key) is asked one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from longcall.broker.filters import And, Equals, Filter, HasPrefix

__all__ = ["FilterIndex"]

_T = TypeVar("_T")


@dataclass(slots=True)
class FilterIndex(Generic[_T]):
    """Members with a filter each; a member is in once."""

    _equal: dict[tuple[str, str], dict[_T, Filter]] = field(default_factory=lambda: defaultdict(dict))
    _prefix: dict[str, dict[str, dict[_T, Filter]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    _rest: dict[_T, Filter] = field(default_factory=dict)

    def add(self, member: _T, wanted: Filter) -> None:
        """File a member under its filter."""
        self._place(wanted)[member] = wanted

    def remove(self, member: _T, wanted: Filter) -> None:
        """Take out a member that was added with this filter."""
        del self._place(wanted)[member]
        match _demand(wanted):
            case Equals(key=key, value=value) if not self._equal[key, value]:
                del self._equal[key, value]
            case HasPrefix(key=key, prefix=prefix) if not self._prefix[key][prefix]:
                del self._prefix[key][prefix]
            case _:
                pass

    def matching(self, attributes: Mapping[str, str]) -> Iterator[_T]:
        """Yield the members whose filter matches, each once."""
        for member, wanted in self._rest.items():
            if wanted.matches(attributes):
                yield member
        for key, value in attributes.items():
            for member, wanted in self._equal.get((key, value), {}).items():
                if wanted.matches(attributes):
                    yield member
            prefixes = self._prefix.get(key)
            if prefixes:
                for length in {len(prefix) for prefix in prefixes if len(prefix) <= len(value)}:
                    for member, wanted in prefixes.get(value[:length], {}).items():
                        if wanted.matches(attributes):
                            yield member

    def _place(self, wanted: Filter) -> dict[_T, Filter]:
        match _demand(wanted):
            case Equals(key=key, value=value):
                return self._equal[key, value]
            case HasPrefix(key=key, prefix=prefix):
                return self._prefix[key][prefix]
            case _:
                return self._rest


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
