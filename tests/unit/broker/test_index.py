"""The index finds exactly the members whose filter matches, and touches no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from longcall.broker.core.index import FilterIndex
from longcall.broker.rules.filters import And, Equals, Filter, HasKey, HasPrefix, Not, Or

KEYS, VALUES = st.sampled_from("ab"), st.sampled_from(["", "x", "xy", "xyz"])
LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(HasKey, KEYS), st.builds(Equals, KEYS, VALUES), st.builds(HasPrefix, KEYS, VALUES)
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=4,
)


@given(st.lists(FILTERS, max_size=12), st.sets(st.integers(0, 11)), st.dictionaries(KEYS, VALUES))
def test_index_finds_what_asking_each_would_find(
    filters: list[Filter], removed: set[int], attributes: dict[str, str]
) -> None:
    index: FilterIndex[int] = FilterIndex()
    for member, wanted in enumerate(filters):
        index.add(member, wanted)
    for member in removed & set(range(len(filters))):
        index.remove(member, filters[member])
    expected = [m for m, w in enumerate(filters) if m not in removed and w.matches(attributes)]
    assert sorted(index.matching(attributes)) == expected


def test_one_of_many_members_is_found_by_value_and_by_prefix() -> None:
    index: FilterIndex[int] = FilterIndex()
    for member in range(5000):
        index.add(member, Equals("correlid", f"call-{member}"))
        index.add(5000 + member, HasPrefix("correlid", f"inbox-{member}."))
    assert list(index.matching({"correlid": "call-17"})) == [17]
    assert list(index.matching({"correlid": "inbox-17.abc"})) == [5017]


def test_index_forgets_what_is_removed() -> None:
    index: FilterIndex[str] = FilterIndex()
    filters: list[Filter] = [
        Equals("a", "x"),
        HasPrefix("a", "x"),
        And((HasKey("a"), Equals("b", "y"))),
        And(),
    ]
    for wanted in filters:
        index.add("one", wanted)
        index.remove("one", wanted)
    untouched: FilterIndex[str] = FilterIndex()
    assert vars(index) == vars(untouched)
