"""Tries of a task that mean the same call make the same id; others do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from longcall.airflow.identity import TaskTry, deployment_name, signing_keys
from longcall.contract import BadSignature, Message, sign, verify


def context(*, try_number: int = 1, max_tries: int = 2, retries: int = 2, **names: Any) -> Any:
    named = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1} | names
    return {
        "ti": SimpleNamespace(try_number=try_number, max_tries=max_tries, **named),
        "task": SimpleNamespace(retries=retries),
    }


@pytest.mark.parametrize(
    ("try_number", "max_tries", "first", "tries"),
    [
        (1, 2, 1, 1),
        (3, 2, 1, 3),
        (4, 5, 4, 1),  # cleared after its third try
        (6, 5, 4, 3),
        (1, 0, 1, 1),  # `dag.test()` leaves max_tries alone
        (2, 9, 2, 1),  # its retries were edited since
    ],
)
def test_tries_are_counted_from_the_last_clear(
    try_number: int, max_tries: int, first: int, tries: int
) -> None:
    found = TaskTry.of(context(try_number=try_number, max_tries=max_tries))
    assert (found.first, found.tries) == (first, tries)


def test_id_is_that_of_the_task_its_last_clear_and_the_number() -> None:
    token = TaskTry.of(context()).token(1)
    assert TaskTry.of(context(try_number=2)).token(1) == token
    others = [
        TaskTry.of(context()).token(2),
        TaskTry.of(context(try_number=4, max_tries=5)).token(1),
        *(TaskTry.of(context(**{name: "x"})).token(1) for name in ("dag_id", "run_id", "task_id")),
        TaskTry.of(context(map_index=1)).token(1),
    ]
    assert len({token, *others}) == 7


def test_id_cannot_be_guessed_without_the_deployments_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "one")
    token = TaskTry.of(context()).token(1)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "two")
    assert TaskTry.of(context()).token(1) != token


def test_rotation_of_the_deployments_key_goes_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow has it: the new one before the old one, until what was encrypted is rotated."""
    message, keys, names = Message(data=b"1", attributes={"correlid": "a"}), {}, {}
    for told in ("old", "new, old", "new"):
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", told)
        keys[told] = signing_keys("a")
        names[told] = (TaskTry.of(context()).token(1), deployment_name())

    assert [len(each) for each in keys.values()] == [1, 2, 1]
    for told in ("old", "new"):
        verify(sign(message, keys[told]), keys["new, old"])
        verify(sign(message, keys["new, old"]), keys[told])
    with pytest.raises(BadSignature):
        verify(sign(message, keys["old"]), keys["new"])
    assert names["new, old"] == names["old"]
    assert [signing_keys("a", secret=told) for told in keys] == list(keys.values())  # as in a connection
