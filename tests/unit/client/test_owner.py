"""Whose call it is can be read again, whatever the names are, from labels and from the request."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall.client.owner import CallOwner
from longcall.contract import CallRequest, decode_request, request_headers

LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
VALUE = re.compile(r"[a-z0-9_-]{0,63}")
names = st.text(min_size=1, max_size=80)
# As long as Airflow lets them be.
long_names = st.text("abcXYZ-_.:+/ 019é", min_size=1, max_size=250)


def owners(names: st.SearchStrategy[str], endpoints: st.SearchStrategy[str]) -> st.SearchStrategy[CallOwner]:
    return st.builds(
        CallOwner,
        deployment=st.text("abc234", min_size=16, max_size=16),
        dag_id=names,
        run_id=names,
        task_id=names,
        map_index=st.integers(-1, 10_000),
        http_conn_id=names,
        endpoint=endpoints,
    )


@given(owners(names, st.text(max_size=100)))
def test_owner_survives_being_labels(owner: CallOwner) -> None:
    assert CallOwner.from_labels({"source": "longcall"} | owner.to_labels()) == owner


@given(owners(long_names, st.text("abc/", max_size=2000)))
def test_labels_are_such_as_google_takes(owner: CallOwner) -> None:
    labels = owner.to_labels()
    assert 0 < len(labels) <= 60
    assert all(LABEL.fullmatch(name) and VALUE.fullmatch(value) for name, value in labels.items())


@pytest.mark.parametrize("piece", ["", "!", "abc", "mfrgg", "nm"])
def test_labels_of_somebody_else_name_no_owner(piece: str) -> None:
    assert CallOwner.from_labels({"longcall_owner_0": piece}) is None
    assert CallOwner.from_labels({}) is None


@given(owners(names, st.just("")))
def test_owner_survives_being_sent_with_a_request(owner: CallOwner) -> None:
    sent = request_headers(CallRequest(correlation_id="lc-1", caller=owner.to_caller()))
    headers = {name.lower(): value for name, value in sent.items()}
    got = decode_request({}, headers, b"").caller
    if got:
        assert CallOwner.from_caller(got, http_conn_id=owner.http_conn_id) == owner
    else:
        assert sum(map(len, (owner.dag_id, owner.run_id, owner.task_id))) > 80


@given(owners(long_names, st.just("")))
def test_names_that_are_too_long_are_not_sent(owner: CallOwner) -> None:
    assert len(owner.to_caller()) <= 1000


CALLER = CallOwner(
    deployment="a", dag_id="d", run_id="r", task_id="t", map_index=-1, http_conn_id="h", endpoint=""
).to_caller()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the night job",
        CALLER.replace("-1", "x"),
        *(CALLER.replace(f"{k}=", "k=") for k, _ in parse_qsl(CALLER)),
    ],
)
def test_caller_of_somebody_else_names_no_owner(text: str) -> None:
    assert CallOwner.from_caller(CALLER, http_conn_id="h") is not None
    assert CallOwner.from_caller(text, http_conn_id="h") is None
