"""When a start is asked for again."""

from __future__ import annotations

import pytest

from longcall.client import CallRefused, CallUnreachable, StartAttempts, read_start_answer
from longcall.client.starting import retry_after_s

NOBODY = CallUnreachable("no answer", url="http://service")


def refused(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> CallRefused:
    with pytest.raises(CallRefused) as caught:
        read_start_answer(status=status, headers=headers or {}, body=body, url="http://service/train")
    return caught.value


def attempts(number: int = 5, *, max_s: float = 10.0) -> StartAttempts:
    return StartAttempts(attempts=number, min_s=1.0, max_s=max_s, dice=lambda: 0.5)


def test_pauses_double_up_to_the_longest_and_end_with_the_attempts() -> None:
    counted = attempts(6)
    assert [counted.pause_s(NOBODY) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, None]


def test_refusal_that_a_repeat_does_not_mend_is_the_last_attempt() -> None:
    assert attempts().pause_s(refused(422)) is None


@pytest.mark.parametrize("status", [429, 503])
def test_pause_is_what_the_service_asks_for(status: int) -> None:
    assert attempts().pause_s(refused(status, {"Retry-After": "7"})) == 7.0


def test_service_that_asks_for_no_time_gets_the_usual_pause() -> None:
    assert attempts().pause_s(refused(503, {"Retry-After": "0"})) == 1.0


def test_service_that_asks_for_longer_than_the_longest_pause_is_not_asked_again() -> None:
    assert attempts().pause_s(refused(503, {"Retry-After": "11"})) is None


def test_pause_in_the_problem_counts_where_no_header_has_one() -> None:
    body = b'{"title": "Busy", "retry_after_ms": 3500}'
    assert attempts().pause_s(refused(503, body=body)) == 3.5
    assert attempts().pause_s(refused(503, {"Retry-After": "5"}, body)) == 5.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "Wed, 25 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Wed, 25 Nov 2026 10:00:30 GMT", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 25 Nov 2026 09:00:00 GMT", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 25 Nov 2026 10:00:30", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": " 12 "}, 12.0),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers) == expected
