"""Which processes descend from which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from longcall.cli.stack.guard import descendants_of


def test_descendants_are_listed_nearest_first() -> None:
    processes = [(30, 20), (10, 1), (20, 10), (21, 10), (99, 1)]
    assert descendants_of(10, processes) == [20, 21, 30]


def test_a_process_without_children_has_no_descendants() -> None:
    assert descendants_of(7, [(7, 1), (8, 1)]) == []


@given(st.lists(st.integers(min_value=0), max_size=40))
def test_every_process_of_a_tree_descends_from_its_root_once(choices: list[int]) -> None:
    # Process n+1 has some earlier process as its parent: a tree with root 0.
    processes = [(n + 1, choice % (n + 1)) for n, choice in enumerate(choices)]
    assert sorted(descendants_of(0, processes)) == [pid for pid, _ in processes]


@given(st.dictionaries(st.integers(1, 20), st.integers(1, 20)))
def test_a_reused_process_id_in_a_circle_ends(parents: dict[int, int]) -> None:
    assert len(descendants_of(1, parents.items())) <= len(parents)
