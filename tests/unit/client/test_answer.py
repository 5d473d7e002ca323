"""How a service's answer is read."""

from __future__ import annotations

import json

import pytest

from longcall.client import CallRefused, completion_result, read_start_answer
from longcall.client._http import is_same_origin
from longcall.contract import ContractError, Heartbeat, Report, Succeeded

URL = "https://user:pw@service.test/models/train?correlid=x&key=secret"


def refused(status: int, body: bytes = b"") -> CallRefused:
    with pytest.raises(CallRefused) as caught:
        read_start_answer(status=status, headers={}, body=body, url=URL)
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_success_accepts(status: int) -> None:
    assert read_start_answer(status=status, headers={}, body=b"whatever", url=URL).location is None


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/calls/1", "https://user:pw@service.test/calls/1"),
        ("calls/1", "https://user:pw@service.test/models/calls/1"),
        ("https://other.test/1", "https://other.test/1"),
    ],
)
def test_location_is_relative_to_the_request(location: str, expected: str) -> None:
    for name in ("Location", "location"):
        answer = read_start_answer(status=202, headers={name: location}, body=b"", url=URL)
        assert answer.location == expected


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (302, 400, 404, 409, 422)),
        *((status, True) for status in (408, 425, 429, 500, 503)),
    ],
)
def test_refusal_knows_whether_to_try_again(status: int, retryable: bool) -> None:
    assert refused(status).retryable == retryable


def test_refusal_speaks_the_services_words_and_names_no_secret() -> None:
    error = refused(422, json.dumps({"title": "Bad model", "detail": "no 'x'"}).encode())

    assert "422" in str(error)
    assert "Bad model: no 'x'" in str(error)
    assert "secret" not in str(error)
    assert "pw" not in str(error)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 409, 413, 415, 422])
def test_refusal_says_what_to_do(status: int) -> None:
    assert ";" in str(refused(status))


@pytest.mark.parametrize(
    "body", [b"x" * 10_000, b"\xff\x00" * 500, b"[1]", b"{", b'{"retryable": 3, "title": 1}']
)
def test_body_that_is_no_problem_is_shown_in_part(body: bytes) -> None:
    assert len(str(refused(500, body))) < 400


def test_result_is_what_a_completion_carries() -> None:
    assert completion_result(Report(correlation_id="c", body=Succeeded.of([1]))) == [1]
    with pytest.raises(ContractError, match="heartbeat"):
        completion_result(Report(correlation_id="c", body=Heartbeat()))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("https://service.test/x", True),
        ("http://service.test/x", False),
        ("https://service.test:8443/x", False),
        ("https://service.test.evil.test/x", False),
    ],
)
def test_origin_is_scheme_host_and_port(other: str, same: bool) -> None:
    assert is_same_origin(URL, other) == same
