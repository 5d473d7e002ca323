"""What the operator's `data` becomes on the wire."""

from __future__ import annotations

import pytest

from longcall.airflow.service_hook import encode_arguments
from longcall.contract import ContractError


@pytest.mark.parametrize(
    ("data", "headers", "expected"),
    [
        (None, None, (b"", "")),
        ({"n": 1}, None, (b'{"n":1}', "application/json")),
        ([1, "ä"], None, ('[1,"ä"]'.encode(), "application/json")),
        ('{"n": 1}', None, (b'{"n": 1}', "application/json")),
        ("a line", None, (b"a line", "text/plain; charset=utf-8")),
        ("a,b", {"content-type": "text/csv"}, (b"a,b", "text/csv")),
        (b"\x00", {"Content-Type": "application/octet-stream"}, (b"\x00", "application/octet-stream")),
        (False, None, (b"false", "application/json")),
    ],
)
def test_data_is_encoded_by_what_it_is(
    data: object, headers: dict[str, str] | None, expected: object
) -> None:
    assert encode_arguments(data, headers) == expected  # type: ignore[arg-type] # parametrized


@pytest.mark.parametrize("data", [{"n": float("nan")}, {"n": {1, 2}}])
def test_data_that_is_not_json_names_the_field(data: object) -> None:
    with pytest.raises(ContractError, match=r"^data: not JSON"):
        encode_arguments(data, None)  # type: ignore[arg-type] # on purpose
