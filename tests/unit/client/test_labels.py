"""What the labels of an inbox say can be read again, whatever it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.client.labels import InboxOwner, created_label, created_time

LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
VALUE = re.compile(r"[a-z0-9_-]{0,63}")
names = st.text(min_size=1, max_size=80)
# As long as Airflow lets them be.
long_names = st.text("abcXYZ-_.:+/ 019é", min_size=1, max_size=250)


def owners(names: st.SearchStrategy[str], endpoints: st.SearchStrategy[str]) -> st.SearchStrategy[InboxOwner]:
    return st.builds(
        InboxOwner,
        deployment=st.text("abc234", min_size=16, max_size=16),
        dag_id=names,
        run_id=names,
        task_id=names,
        map_index=st.integers(-1, 10_000),
        http_conn_id=names,
        endpoint=endpoints,
    )


@given(owners(names, st.text(max_size=100)))
def test_owner_survives_being_labels(owner: InboxOwner) -> None:
    assert InboxOwner.from_labels({"source": "longcall"} | owner.to_labels()) == owner


@given(owners(long_names, st.text("abc/", max_size=2000)))
def test_labels_are_such_as_google_takes(owner: InboxOwner) -> None:
    labels = owner.to_labels()
    assert 0 < len(labels) <= 60
    assert all(LABEL.fullmatch(name) and VALUE.fullmatch(value) for name, value in labels.items())


@pytest.mark.parametrize("piece", ["", "!", "abc", "mfrgg", "nm"])
def test_labels_of_somebody_else_name_no_owner(piece: str) -> None:
    assert InboxOwner.from_labels({"longcall_owner_0": piece}) is None
    assert InboxOwner.from_labels({}) is None


def test_time_of_creation_is_kept_to_the_second() -> None:
    now = datetime(2026, 11, 25, 3, 0, 1, tzinfo=UTC)
    assert created_time(created_label(now)) == now
    assert created_time(created_label(now.replace(microsecond=999_999))) == now
    assert created_time({}) is None
    assert created_time({"longcall_created": "yesterday"}) is None
